"""LLVM: text to machine code. Only this folder imports llvmlite, and no process imports it that
finds its code in the cache."""

from functools import cache
from typing import Literal, assert_never

from llvmlite import binding as llvm

from lamina.engine.code.elf import image_of, stencils_of
from lamina.engine.code.image import CodeImage
from lamina.engine.llvm.lower import LOOPS

UNROLLED = 200_000  # bytes of assembly, of 300 instructions
CODE_GENERATION = 1  # LLVM's level for machine code: at 2 it takes longer for the same speed

# "cold": as "runtime", with the quickest generation of machine code: a third of its time.
Passes = Literal["runtime", "cold", "region"]


@cache
def _set_options() -> None:
    """Once for the process. Loop strength reduction gives each pointer of a loop over guest memory
    registers of its own, which x86-64 has not."""
    llvm.set_option("lamina", "-disable-lsr")


def select_instructions(*, quickly: bool) -> None:
    """Whether instructions are selected by LLVM's FastISel, as far as it goes: the rest is, as it
    is without, by the selection DAG. To be said before anything is emitted; LLVM keeps it."""
    llvm.set_option("lamina", f"-fast-isel={int(quickly)}")


def schedule_instructions(*, wanted: bool) -> None:
    """Whether LLVM puts instructions into an order of its own before it allocates registers; as
    `select_instructions`. Handlers and stencils are short, and as fast in the order of their text:
    6 % of the time for the runtime is saved."""
    llvm.set_option("lamina", f"-enable-misched={int(wanted)}")


def pays_quick_selection(region: str) -> bool:
    """For two thirds of the time the quick selection of a region's instructions makes code as good,
    but where there is floating point, or so much code that it is unrolled arithmetic."""
    return "constrained" not in region and len(region) < UNROLLED


def target_machine(level: int) -> llvm.TargetMachine:
    """The host's. Position-independent, and everything within 2 GiB: see `engine.code.arena`."""
    _set_options()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for the assembly in engine.threaded.hostfloat
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=level,
        reloc="pic",
        codemodel="small",
    )


def compile_image(text: str, *, passes: Passes) -> CodeImage:
    """Machine code for a module's LLVM assembly. Functions that it declares become relocations
    (declare them dso_local), the ones it defines without `internal` become symbols."""
    match passes:
        case "runtime" | "cold":
            quickly = passes == "cold"
            machine = _emitter(0 if quickly else CODE_GENERATION)
            module = optimise(text, machine)
        case "region":
            machine = _emitter(CODE_GENERATION)
            module = optimise_region(text)
            quickly = pays_quick_selection(text)
        case _:
            assert_never(passes)
    select_instructions(quickly=quickly)
    schedule_instructions(wanted=passes == "region")
    return image_of(bytes(machine.emit_object(module)))


def compile_stencils(text: str) -> CodeImage:
    """The functions of a module as pieces to copy (`code.elf.stencils_of`)."""
    machine = _emitter(CODE_GENERATION)
    module = optimise(text, machine)
    select_instructions(quickly=False)
    schedule_instructions(wanted=False)
    return stencils_of(bytes(machine.emit_object(module)))


def optimise(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """A module from LLVM assembly, through the few passes that matter for what is written here:
    the text is in SSA form and wants no inlining but where it says so. LLVM's own -O2 takes ten
    times as long, for code that boots a guest no faster."""
    module = _parse(text, machine)
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return module


def optimise_region(text: str) -> llvm.ModuleRef:
    """A short list: value numbering and the removal of dead stores took a quarter of the time and
    made code no smaller, as `engine.jit.writer` writes little that is double."""
    machine = _optimiser()
    text, _, loops = text.partition(LOOPS)
    module = _parse(text, machine)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_aggressive_instcombine_pass()  # bytes that are stored side by side are one word
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    if loops:
        link_loops(module, _parse(loops, machine), machine)
    return module


def link_loops(module: llvm.ModuleRef, loops: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """Optimise functions that are small loops as LLVM knows best, and take them into the module
    that calls them: some 7 ms for one."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.loop_interleaving = True
    options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(loops, builder)
    names = [f.name for f in loops.functions if not f.is_declaration]
    module.link_in(loops)
    for name in names:
        module.get_function(name).linkage = llvm.Linkage.internal


def _parse(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module


@cache
def _emitter(level: int) -> llvm.TargetMachine:
    return target_machine(level)


@cache
def _optimiser() -> llvm.TargetMachine:
    return target_machine(2)
