"""What a block of baseline code consists of, as LLVM assembly: the list of its instructions, and which
of them look pages up together. See `runtime_ir` for the notation, `baseline_ir` for the compiler.
"""

from lamina.engine.threaded.baseline_ir import baseline_names
from lamina.engine.threaded.layout import ThreadedLayout
from lamina.isa.arch import Arch

_LIST = """
; The template of a handler by its distance from the decoder's; null: it has none.
define internal ptr @template_of(ptr %s, i32 %off) alwaysinline {{
  %table.i = call i64 @word(ptr %s, i64 {at[templates]})
  %table = inttoptr i64 %table.i to ptr
  %mixed = mul i32 %off, -1640531535
  %first32 = lshr i32 %mixed, {lookup_shift}
  %first = zext i32 %first32 to i64
  %key = sext i32 %off to i64
  br label %look
look:
  %i = phi i64 [ %first, %0 ], [ %i2, %next ]
  %cell = getelementptr inbounds [2 x i64], ptr %table, i64 %i
  %known = load i64, ptr %cell
  %same = icmp eq i64 %known, %key
  br i1 %same, label %found, label %other
other:
  %none = icmp eq i64 %known, 0
  br i1 %none, label %out, label %next
next:
  %i1 = add i64 %i, 1
  %i2 = and i64 %i1, {lookup_mask}
  br label %look
found:
  %template.p = getelementptr inbounds i8, ptr %cell, i64 8
  %template = load ptr, ptr %template.p
  br label %out
out:
  %r = phi ptr [ %template, %found ], [ null, %other ]
  ret ptr %r
}}

; The number of a record in the list: -1 if it is not there.
define internal i64 @baseline_number(ptr %s, ptr %page, ptr %rec) alwaysinline {{
  %cell = call ptr @baseline_cell(ptr %s, ptr %page, ptr %rec)
  %v = load i64, ptr %cell
  %run = lshr i64 %v, 16
  %now = call i64 @word(ptr %s, i64 {at[baseline_run]})
  %listed = icmp eq i64 %run, %now
  %n = and i64 %v, 65535
  %r = select i1 %listed, i64 %n, i64 -1
  ret i64 %r
}}
define internal ptr @baseline_cell(ptr %s, ptr %page, ptr %rec) alwaysinline {{
  %rec.i = ptrtoint ptr %rec to i64
  %page.i = ptrtoint ptr %page to i64
  %d = sub i64 %rec.i, %page.i
  %slot = lshr i64 %d, 4
  %map = getelementptr inbounds i8, ptr %s, i64 {map}
  %cell = getelementptr inbounds i64, ptr %map, i64 %slot
  ret ptr %cell
}}
define internal ptr @baseline_entry(ptr %s, i64 %n) alwaysinline {{
  %list = getelementptr inbounds i8, ptr %s, i64 {list}
  %entry = getelementptr inbounds [{entry_words} x i64], ptr %list, i64 %n
  ret ptr %entry
}}
define internal i64 @listed_word(ptr %s, i64 %n, i64 %at) alwaysinline {{
  %entry = call ptr @baseline_entry(ptr %s, i64 %n)
  %p = getelementptr inbounds i8, ptr %entry, i64 %at
  %v = load i64, ptr %p
  ret i64 %v
}}
define internal void @set_entry(ptr %s, i64 %n, i64 %at, i64 %v) alwaysinline {{
  %entry = call ptr @baseline_entry(ptr %s, i64 %n)
  %p = getelementptr inbounds i8, ptr %entry, i64 %at
  store i64 %v, ptr %p
  ret void
}}
define internal i64 @template_word(ptr %template, i64 %at) alwaysinline {{
  %p = getelementptr inbounds i8, ptr %template, i64 %at
  %v = load i64, ptr %p
  ret i64 %v
}}
define internal ptr @entry_template(ptr %s, i64 %n) alwaysinline {{
  %t.i = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[template]})
  %t = inttoptr i64 %t.i to ptr
  ret ptr %t
}}
define internal ptr @entry_record(ptr %s, i64 %n) alwaysinline {{
  %rec.i = call i64 @listed_word(ptr %s, i64 %n, i64 {entry[record]})
  %rec = inttoptr i64 %rec.i to ptr
  ret ptr %rec
}}
; Whether flags have one, or one of several.
define internal i1 @has(i64 %flags, i64 %bits) alwaysinline {{
  %some = and i64 %flags, %bits
  %r = icmp ne i64 %some, 0
  ret i1 %r
}}
; A number of four bits among the flags.
define internal i64 @flag_number(i64 %flags, i64 %shift) alwaysinline {{
  %down = lshr i64 %flags, %shift
  %r = and i64 %down, 15
  ret i64 %r
}}
; Append to the list. Where straight code begins is an entry.
define internal void @baseline_add(ptr %s, i64 %n, ptr %rec, ptr %template, i64 %begins) alwaysinline {{
  %entry = call ptr @baseline_entry(ptr %s, i64 %n)
  store ptr %rec, ptr %entry
  %template.i = ptrtoint ptr %template to i64
  call void @set_entry(ptr %s, i64 %n, i64 {entry[template]}, i64 %template.i)
  call void @set_entry(ptr %s, i64 %n, i64 {entry[marks]}, i64 %begins)
  call void @set_entry(ptr %s, i64 %n, i64 {entry[check]}, i64 0)
  ret void
}}
define internal void @baseline_note(ptr %s, ptr %page, ptr %rec, i64 %n) alwaysinline {{
  %cell = call ptr @baseline_cell(ptr %s, ptr %page, ptr %rec)
  %run = call i64 @word(ptr %s, i64 {at[baseline_run]})
  %high = shl i64 %run, 16
  %v = or i64 %high, %n
  store i64 %v, ptr %cell
  ret void
}}
define internal i64 @record_immediate(ptr %rec) alwaysinline {{
  %p = getelementptr inbounds i8, ptr %rec, i64 8
  %v = load i32, ptr %p
  %w = sext i32 %v to i64
  ret i64 %w
}}
; Where a jump with a static target in its page goes: its record.
define internal ptr @baseline_target(ptr %rec) alwaysinline {{
  %imm = call i64 @record_immediate(ptr %rec)
  %distance = mul i64 %imm, {record_per_byte}
  %target = getelementptr i8, ptr %rec, i64 %distance
  ret ptr %target
}}

; List what is compiled from a record on: the number of entries; none: nothing is.
define internal i64 @baseline_list(ptr %s, ptr %page, ptr %start) noinline {{
  %run0 = call i64 @word(ptr %s, i64 {at[baseline_run]})
  %run1 = add i64 %run0, 1
  call void @set_word(ptr %s, i64 {at[baseline_run]}, i64 %run1)
  %todo = getelementptr inbounds i8, ptr %s, i64 {todo}
  store ptr %start, ptr %todo
  %go.on.i = call i64 @word(ptr %s, i64 {at[template_go_on]})
  %go.on = inttoptr i64 %go.on.i to ptr
  %merge.i = call i64 @word(ptr %s, i64 {at[template_merge]})
  %merge = inttoptr i64 %merge.i to ptr
  br label %lines
lines:  ; %w of %t waiting starts of straight code were taken; %n entries with %m instructions
  %w = phi i64 [ 0, %0 ], [ %w1, %line.known ], [ %w1, %stopped ], [ %w1, %merged ], [ %w1, %ended ]
  %t = phi i64 [ 1, %0 ], [ %t, %line.known ], [ %t.s, %stopped ], [ %t.2, %merged ], [ %t.e, %ended ]
  %n = phi i64 [ 0, %0 ], [ %n, %line.known ], [ %n.s, %stopped ], [ %n.m, %merged ], [ %n.1, %ended ]
  %m = phi i64 [ 0, %0 ], [ %m, %line.known ], [ %m.l, %stopped ], [ %m.1, %merged ], [ %m.1, %ended ]
  %all = icmp uge i64 %w, %t
  br i1 %all, label %done, label %take
done:
  %useful = icmp ugt i64 %m, 1
  %entries = select i1 %useful, i64 %n, i64 0
  %made = select i1 %useful, i64 %m, i64 0
  %total.0 = call i64 @word(ptr %s, i64 {at[baseline_instructions]})
  %total.1 = add i64 %total.0, %made
  call void @set_word(ptr %s, i64 {at[baseline_instructions]}, i64 %total.1)
  ret i64 %entries
take:
  %todo.p = getelementptr inbounds ptr, ptr %todo, i64 %w
  %first = load ptr, ptr %todo.p
  %w1 = add i64 %w, 1
  %number = call i64 @baseline_number(ptr %s, ptr %page, ptr %first)
  %known = icmp sge i64 %number, 0
  br i1 %known, label %line.known, label %line
line.known:
  br label %lines
line:
  %rec = phi ptr [ %first, %take ], [ %rec.1, %on ]
  %begins = phi i64 [ 1, %take ], [ 0, %on ]
  %t.l = phi i64 [ %t, %take ], [ %t.2, %on ]
  %n.l = phi i64 [ %n, %take ], [ %n.1, %on ]
  %m.l = phi i64 [ %m, %take ], [ %m.1, %on ]
  %off = load i32, ptr %rec
  %template = call ptr @template_of(ptr %s, i32 %off)
  call void @baseline_note(ptr %s, ptr %page, ptr %rec, i64 %n.l)
  %none = icmp eq ptr %template, null
  %full = icmp uge i64 %m.l, {BASELINE_MAX}
  %stops = or i1 %none, %full
  br i1 %stops, label %stop, label %instruction
stop:  ; its handler goes on; where there was no room for straight code that is for another block
  %within = icmp eq i64 %begins, 0
  br i1 %none, label %alien, label %cut
cut:
  br i1 %within, label %note, label %stopped
note:
  %rec.i = ptrtoint ptr %rec to i64
  call void @set_word(ptr %s, i64 {at[baseline_more]}, i64 %rec.i)
  br label %stopped
alien:  ; what has no stencil comes back behind itself
  %raw.p = getelementptr inbounds i8, ptr %rec, i64 12
  %raw = load i16, ptr %raw.p
  %raw.bits = and i16 %raw, {long_mask}
  %long = icmp eq i16 %raw.bits, {long_match}
  %length = select i1 %long, i64 {two_records}, i64 {RECORD}
  %rec.a = getelementptr inbounds i8, ptr %rec, i64 %length
  %alien.next = load i32, ptr %rec.a
  %alien.ran = icmp ne i32 %alien.next, 0
  %own.ran = icmp ne i32 %off, 0
  %room = icmp ult i64 %t.l, {TODO_ROOM}
  %comes0 = and i1 %alien.ran, %own.ran
  %comes = and i1 %comes0, %room
  br i1 %comes, label %back, label %stopped
back:
  %back.p = getelementptr inbounds ptr, ptr %todo, i64 %t.l
  store ptr %rec.a, ptr %back.p
  %t.b = add i64 %t.l, 1
  br label %stopped
stopped:
  %t.s = phi i64 [ %t.l, %cut ], [ %t.l, %note ], [ %t.l, %alien ], [ %t.b, %back ]
  call void @baseline_add(ptr %s, i64 %n.l, ptr %rec, ptr %go.on, i64 0)
  %n.s = add i64 %n.l, 1
  br label %lines
instruction:
  call void @baseline_add(ptr %s, i64 %n.l, ptr %rec, ptr %template, i64 %begins)
  %n.1 = add i64 %n.l, 1
  %m.1 = add i64 %m.l, 1
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %jumps = call i1 @has(i64 %flags, i64 {JUMPS})
  br i1 %jumps, label %jump, label %after
jump:
  %target = call ptr @baseline_target(ptr %rec)
  %wait.p = getelementptr inbounds ptr, ptr %todo, i64 %t.l
  store ptr %target, ptr %wait.p
  %t.1 = add i64 %t.l, 1
  br label %after
after:
  %t.2 = phi i64 [ %t.l, %instruction ], [ %t.1, %jump ]
  %ends = call i1 @has(i64 %flags, i64 {ENDS})
  %step = call i64 @template_word(ptr %template, i64 {head[step]})
  %rec.1 = getelementptr inbounds i8, ptr %rec, i64 %step
  br i1 %ends, label %last, label %follow
last:  ; what is behind a call runs when that returns, unless it is waiting to be decoded
  %link.p = getelementptr inbounds i8, ptr %rec, i64 4
  %link = load i8, ptr %link.p
  %keeps = icmp ne i8 %link, {discard}
  %may.keep = call i1 @has(i64 %flags, i64 {LINKS})
  %behind = load i32, ptr %rec.1
  %ran = icmp ne i32 %behind, 0
  %calls = and i1 %keeps, %may.keep
  %returns = and i1 %calls, %ran
  br i1 %returns, label %return, label %ended
return:
  %return.p = getelementptr inbounds ptr, ptr %todo, i64 %t.2
  store ptr %rec.1, ptr %return.p
  %t.r = add i64 %t.2, 1
  br label %ended
ended:
  %t.e = phi i64 [ %t.2, %last ], [ %t.r, %return ]
  br label %lines
follow:
  %met = call i64 @baseline_number(ptr %s, ptr %page, ptr %rec.1)
  %meets = icmp sge i64 %met, 0
  br i1 %meets, label %merged, label %on
on:
  br label %line
merged:
  call void @baseline_add(ptr %s, i64 %n.1, ptr %rec.1, ptr %merge, i64 0)
  %n.m = add i64 %n.1, 1
  br label %lines
}}

; Where jumps lead inside of the block, nothing is known of pages that were looked up.
define internal void @baseline_mark(ptr %s, ptr %page, i64 %entries) noinline {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %end = icmp uge i64 %i, %entries
  br i1 %end, label %done, label %one
done:
  ret void
one:
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %bit = and i64 %flags, {JUMPS}
  %jumps = icmp ne i64 %bit, 0
  br i1 %jumps, label %jump, label %next
jump:
  call void @baseline_forward(ptr %s, i64 %i)
  %to = call i64 @baseline_goal(ptr %s, ptr %page, i64 %i)
  %marks = call i64 @listed_word(ptr %s, i64 %to, i64 {entry[marks]})
  %marked = or i64 %marks, {TARGET}
  call void @set_entry(ptr %s, i64 %to, i64 {entry[marks]}, i64 %marked)
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %loop
}}
; A jump forward in the page needs no look at what is pending: it makes way to the next one that does.
define internal void @baseline_forward(ptr %s, i64 %i) alwaysinline {{
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %second = call i64 @template_word(ptr %template, i64 {head[second]})
  %imm = call i64 @entry_immediate(ptr %s, i64 %i)
  %forward = icmp sgt i64 %imm, 0
  %has = icmp ne i64 %second, 0
  %use = and i1 %forward, %has
  %template.i = ptrtoint ptr %template to i64
  %chosen = select i1 %use, i64 %second, i64 %template.i
  call void @set_entry(ptr %s, i64 %i, i64 {entry[template]}, i64 %chosen)
  ret void
}}
; The number of the entry where one that jumps leads: what merges leads to its own record.
define internal i64 @baseline_goal(ptr %s, ptr %page, i64 %i) alwaysinline {{
  %rec = call ptr @entry_record(ptr %s, i64 %i)
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %step = call i64 @template_word(ptr %template, i64 {head[step]})
  %merges = icmp eq i64 %step, 0
  %target = call ptr @baseline_target(ptr %rec)
  %goal = select i1 %merges, ptr %rec, ptr %target
  %number = call i64 @baseline_number(ptr %s, ptr %page, ptr %goal)
  ret i64 %number
}}
; The register that is an operand of an entry's record, by its place.
define internal i8 @entry_operand(ptr %s, i64 %n, i64 %place) alwaysinline {{
  %rec = call ptr @entry_record(ptr %s, i64 %n)
  %at = add i64 %place, 4
  %p = getelementptr inbounds i8, ptr %rec, i64 %at
  %v = load i8, ptr %p
  ret i8 %v
}}
define internal i64 @entry_immediate(ptr %s, i64 %n) alwaysinline {{
  %rec = call ptr @entry_record(ptr %s, i64 %n)
  %imm = call i64 @record_immediate(ptr %rec)
  ret i64 %imm
}}
define internal i1 @entry_changes(ptr %s, i64 %n, i64 %flags, i8 %register) alwaysinline {{
  %place1 = call i64 @flag_number(i64 %flags, i64 {DESTINATION_SHIFT})
  %some = icmp ne i64 %place1, 0
  %place = sub i64 %place1, 1
  %in = select i1 %some, i64 %place, i64 0
  %register.n = call i8 @entry_operand(ptr %s, i64 %n, i64 %in)
  %same = icmp eq i8 %register.n, %register
  %changes = and i1 %some, %same
  %barrier = call i1 @has(i64 %flags, i64 {BARRIER})
  %r = or i1 %changes, %barrier
  ret i1 %r
}}

; Neighbouring accesses at one register, which does not change between them, share a look-up.
define internal void @baseline_group(ptr %s, i64 %entries) noinline {{
  br label %loop
loop:  ; up to %busy the page of an earlier look-up is in use
  %i = phi i64 [ 0, %0 ], [ %i1, %next ]
  %busy = phi i64 [ 0, %0 ], [ %busy.n, %next ]
  %end = icmp uge i64 %i, %entries
  br i1 %end, label %done, label %one
done:
  ret void
one:
  %template = call ptr @entry_template(ptr %s, i64 %i)
  %flags = call i64 @template_word(ptr %template, i64 {head[flags]})
  %known.i = call i64 @template_word(ptr %template, i64 {head[second]})
  %accesses = call i1 @has(i64 %flags, i64 {ACCESS})
  %has.second = icmp ne i64 %known.i, 0
  %can = and i1 %accesses, %has.second
  %free = icmp uge i64 %i, %busy
  %try = and i1 %can, %free
  br i1 %try, label %first, label %single
first:
  %kind = and i64 %flags, {ACCESS}
  %place = call i64 @flag_number(i64 %flags, i64 {BASE_SHIFT})
  %base = call i8 @entry_operand(ptr %s, i64 %i, i64 %place)
  %low.0 = call i64 @entry_immediate(ptr %s, i64 %i)
  %size = call i64 @flag_number(i64 %flags, i64 {SIZE_SHIFT})
  %high.e = add i64 %low.0, %size
  %high.0 = sub i64 %high.e, 1
  %changes.0 = call i1 @entry_changes(ptr %s, i64 %i, i64 %flags, i8 %base)
  %start = add i64 %i, 1
  %stop0 = add i64 %i, {NEAR}
  %short = icmp ult i64 %entries, %stop0
  %stop = select i1 %short, i64 %entries, i64 %stop0
  br i1 %changes.0, label %single, label %scan
scan:
  %j = phi i64 [ %start, %first ], [ %j1, %on ]
  %low = phi i64 [ %low.0, %first ], [ %low.j, %on ]
  %high = phi i64 [ %high.0, %first ], [ %high.j, %on ]
  %last = phi i64 [ %i, %first ], [ %last.j, %on ]
  %over = icmp uge i64 %j, %stop
  br i1 %over, label %found, label %look
look:
  %template.j = call ptr @entry_template(ptr %s, i64 %j)
  %flags.j = call i64 @template_word(ptr %template.j, i64 {head[flags]})
  %step.j = call i64 @template_word(ptr %template.j, i64 {head[step]})
  %marks.j = call i64 @listed_word(ptr %s, i64 %j, i64 {entry[marks]})
  %no.insn = icmp eq i64 %step.j, 0
  %met = icmp ne i64 %marks.j, 0
  %breaks = or i1 %no.insn, %met
  br i1 %breaks, label %found, label %member
member:
  %known.j.i = call i64 @template_word(ptr %template.j, i64 {head[second]})
  %can.j = icmp ne i64 %known.j.i, 0
  %kind.j = and i64 %flags.j, {ACCESS}
  %like = icmp eq i64 %kind.j, %kind
  %place.j = call i64 @flag_number(i64 %flags.j, i64 {BASE_SHIFT})
  %base.j = call i8 @entry_operand(ptr %s, i64 %j, i64 %place.j)
  %same = icmp eq i8 %base.j, %base
  %imm.j = call i64 @entry_immediate(ptr %s, i64 %j)
  %size.j = call i64 @flag_number(i64 %flags.j, i64 {SIZE_SHIFT})
  %end.j.e = add i64 %imm.j, %size.j
  %end.j = sub i64 %end.j.e, 1
  %lower = icmp slt i64 %imm.j, %low
  %low.n = select i1 %lower, i64 %imm.j, i64 %low
  %higher = icmp sgt i64 %end.j, %high
  %high.n = select i1 %higher, i64 %end.j, i64 %high
  %span = sub i64 %high.n, %low.n
  %close = icmp ult i64 %span, {FAR}
  %m1 = and i1 %can.j, %like
  %m2 = and i1 %same, %close
  %joins = and i1 %m1, %m2
  br i1 %joins, label %join, label %after
join:
  call void @set_entry(ptr %s, i64 %j, i64 {entry[template]}, i64 %known.j.i)
  br label %after
after:
  %low.j = phi i64 [ %low, %member ], [ %low.n, %join ]
  %high.j = phi i64 [ %high, %member ], [ %high.n, %join ]
  %last.j = phi i64 [ %last, %member ], [ %j, %join ]
  %changes = call i1 @entry_changes(ptr %s, i64 %j, i64 %flags.j, i8 %base)
  br i1 %changes, label %found.j, label %on
on:
  %j1 = add i64 %j, 1
  br label %scan
found.j:
  br label %found
found:
  %low.f = phi i64 [ %low, %scan ], [ %low, %look ], [ %low.j, %found.j ]
  %high.f = phi i64 [ %high, %scan ], [ %high, %look ], [ %high.j, %found.j ]
  %last.f = phi i64 [ %last, %scan ], [ %last, %look ], [ %last.j, %found.j ]
  %alone = icmp eq i64 %last.f, %i
  br i1 %alone, label %single, label %group
group:
  %writes = call i1 @has(i64 %flags, i64 {WRITES})
  %check.r = call i64 @word(ptr %s, i64 {at[template_check_read]})
  %check.w = call i64 @word(ptr %s, i64 {at[template_check_write]})
  %check = select i1 %writes, i64 %check.w, i64 %check.r
  call void @set_entry(ptr %s, i64 %i, i64 {entry[check]}, i64 %check)
  call void @set_entry(ptr %s, i64 %i, i64 {entry[low]}, i64 %low.f)
  call void @set_entry(ptr %s, i64 %i, i64 {entry[high]}, i64 %high.f)
  call void @set_entry(ptr %s, i64 %i, i64 {entry[template]}, i64 %known.i)
  %busy.g = add i64 %last.f, 1
  br label %next
single:
  br label %next
next:
  %busy.n = phi i64 [ %busy, %single ], [ %busy.g, %group ]
  %i1 = add i64 %i, 1
  br label %loop
}}
"""


def listing(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return _LIST.format_map(baseline_names(arch, layout))
