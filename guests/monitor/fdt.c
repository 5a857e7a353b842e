// The flattened device tree, read in place (Devicetree Specification, chapter 5).
//
// The blob is a header, a structure block of 4-byte tokens and a block of property names. All of
// its numbers are big-endian. Nothing in it is believed: every offset and length is checked
// against the block that it points into, so a broken tree ends the scan and nothing else.
#include "monitor.h"

enum { BEGIN_NODE = 1, END_NODE = 2, PROPERTY = 3, NOP = 4 };
#define HEADER_MAGIC 0xd00dfeed
#define HEADER_WORDS 10
#define MAX_BLOB (16u << 20)

static const u8 *structure, *names;
static u32 structure_size, names_size, total_size;

u32 fdt_cell(const void *cells, u32 index) {
    const u8 *byte = (const u8 *)cells + 4 * index; // bytes: the blob may not be aligned
    return (u32)byte[0] << 24 | (u32)byte[1] << 16 | (u32)byte[2] << 8 | byte[3];
}

bool fdt_open(const void *blob) {
    structure_size = total_size = 0;
    if (!blob || ((u64)blob & 3) || fdt_cell(blob, 0) != HEADER_MAGIC)
        return false;
    u32 total = fdt_cell(blob, 1);
    u32 structure_at = fdt_cell(blob, 2), names_at = fdt_cell(blob, 3);
    u32 names_length = fdt_cell(blob, 8), structure_length = fdt_cell(blob, 9);
    if (total < 4 * HEADER_WORDS || total > MAX_BLOB || structure_at > total ||
        structure_length > total - structure_at || names_at > total ||
        names_length > total - names_at)
        return false;
    structure = (const u8 *)blob + structure_at;
    names = (const u8 *)blob + names_at;
    structure_size = structure_length & ~3u;
    names_size = names_length;
    total_size = total;
    return true;
}

u64 fdt_size(void) { return total_size; }

// The length of a string that must end before `limit` bytes; -1 when it does not.
static int bounded_length(const u8 *text, u32 limit) {
    for (u32 length = 0; length < limit; length++)
        if (!text[length])
            return (int)length;
    return -1;
}

// Reads the property at *offset and moves behind it. False at the node's first child or its end.
bool fdt_next_property(u32 *offset, const char **name, const u8 **value, u32 *length) {
    while (structure_size >= 4 && *offset <= structure_size - 4) {
        u32 token = fdt_cell(structure + *offset, 0);
        if (token == NOP) {
            *offset += 4;
            continue;
        }
        if (token != PROPERTY || structure_size - *offset < 12)
            return false;
        u32 size = fdt_cell(structure + *offset, 1), name_at = fdt_cell(structure + *offset, 2);
        if (size > structure_size - *offset - 12 || name_at >= names_size ||
            bounded_length(names + name_at, names_size - name_at) < 0)
            return false;
        *name = (const char *)names + name_at;
        *value = structure + *offset + 12;
        *length = size;
        *offset += 12 + ((size + 3) & ~3u);
        return true;
    }
    return false;
}

const void *fdt_property(const struct fdt_node *node, const char *name, u32 *length) {
    u32 offset = node->offset;
    const char *found;
    const u8 *value;
    while (fdt_next_property(&offset, &found, &value, length))
        if (text_equal(found, name))
            return value;
    return NULL;
}

bool fdt_u32(const struct fdt_node *node, const char *name, u32 *value) {
    u32 length;
    const void *cells = fdt_property(node, name, &length);
    if (!cells || length < 4)
        return false;
    *value = fdt_cell(cells, 0);
    return true;
}

struct fdt_node fdt_start(void) {
    struct fdt_node node = {.depth = -1, .name = ""};
    return node;
}

// Moves to the next node in the order of the blob: parents come before their children.
bool fdt_next(struct fdt_node *node) {
    const char *name;
    const u8 *value;
    u32 length;
    while (structure_size >= 4 && node->offset <= structure_size - 4) {
        u32 before = node->offset;
        if (fdt_next_property(&node->offset, &name, &value, &length))
            continue;
        u32 token = fdt_cell(structure + node->offset, 0);
        if (token == END_NODE && node->depth >= 0) {
            node->depth--;
            node->offset += 4;
        } else if (token == BEGIN_NODE && node->depth + 1 < FDT_MAX_DEPTH) {
            u32 name_at = node->offset + 4;
            int size = bounded_length(structure + name_at, structure_size - name_at);
            if (size < 0)
                return false;
            node->name = (const char *)structure + name_at;
            node->offset = (name_at + (u32)size + 4) & ~3u;
            node->depth++;
            u32 cells;
            node->address_cells[node->depth] =
                fdt_u32(node, "#address-cells", &cells) && cells <= 3 ? (u8)cells : 2;
            node->size_cells[node->depth] =
                fdt_u32(node, "#size-cells", &cells) && cells <= 3 ? (u8)cells : 1;
            return true;
        } else if (node->offset == before) {
            return false; // FDT_END, or a token that is none
        }
    }
    return false;
}

// Entry `index` of the node's `reg`: pairs of address and size, in the parent's numbers of cells.
bool fdt_reg(const struct fdt_node *node, u32 index, u64 *base, u64 *size) {
    u32 length;
    const u8 *cells = fdt_property(node, "reg", &length);
    if (!cells || node->depth < 1)
        return false;
    u32 a = node->address_cells[node->depth - 1], s = node->size_cells[node->depth - 1];
    if (a == 0 || index >= length / (4 * (a + s)))
        return false;
    cells += index * 4 * (a + s);
    *base = *size = 0;
    for (u32 i = 0; i < a; i++)
        *base = *base << 32 | fdt_cell(cells, i);
    for (u32 i = 0; i < s; i++)
        *size = *size << 32 | fdt_cell(cells, a + i);
    return true;
}

// Whether one of the strings in `compatible` is `with`.
bool fdt_compatible(const struct fdt_node *node, const char *with) {
    u32 length;
    const u8 *value = fdt_property(node, "compatible", &length);
    for (u32 at = 0; value && at < length;) {
        int size = bounded_length(value + at, length - at);
        if (size < 0)
            return false;
        if (text_equal((const char *)value + at, with))
            return true;
        at += (u32)size + 1;
    }
    return false;
}
