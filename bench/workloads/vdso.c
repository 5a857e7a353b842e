/* Finds gettimeofday in the library that Linux maps into every process. Debian's C library calls
 * it; musl does so on x86-64 only. Specification: vdso(7), elf(5). */
#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#include "vdso.h"

static clock_function *find(const char *image, const Elf64_Shdr *sections, const Elf64_Shdr *table)
{
    const Elf64_Sym *symbols = (const void *)(image + table->sh_offset);
    const char *names = image + sections[table->sh_link].sh_offset;
    for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++)
        if (!strcmp(names + symbols[i].st_name, "__vdso_gettimeofday")) {
            uintptr_t address = (uintptr_t)image + symbols[i].st_value;
            return (clock_function *)address;
        }
    return NULL;
}

clock_function *kernels_clock(void)
{
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (!image)
        return NULL;
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_DYNSYM)
            return find(image, sections, &sections[i]);
    return NULL;
}
