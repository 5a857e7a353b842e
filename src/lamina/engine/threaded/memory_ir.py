"""The slow paths of guest memory, as LLVM assembly: TLB misses, MMIO, page-crossing accesses.
See `runtime_ir` for the notation.
"""

from lamina.engine.threaded.layout import ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

_RAM = """
; The region that holds [gpa, gpa+size), or null.
define internal ptr @find_region(ptr %s, i64 %gpa, i64 %size) noinline {{
entry:
  %n = call i64 @word(ptr %s, i64 {at[region_count]})
  %first = getelementptr inbounds i8, ptr %s, i64 {regions}
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %next ]
  %end = icmp uge i64 %i, %n
  br i1 %end, label %none, label %look
look:
  %at = mul i64 %i, {REGION}
  %r = getelementptr inbounds i8, ptr %first, i64 %at
  %base = load i64, ptr %r
  %size.p = getelementptr inbounds i8, ptr %r, i64 8
  %rsize = load i64, ptr %size.p
  %rel = sub i64 %gpa, %base
  %in = icmp ult i64 %rel, %rsize
  %rest = sub i64 %rsize, %rel
  %fits = icmp ule i64 %size, %rest
  %ok = and i1 %in, %fits
  br i1 %ok, label %found, label %next
found:
  ret ptr %r
next:
  %i1 = add i64 %i, 1
  br label %loop
none:
  ret ptr null
}}

; A host pointer to guest-physical RAM, or null.
define dso_local ptr @phys_pointer(ptr %s, i64 %gpa, i64 %size, i64 %write) noinline {{
  %r = call ptr @find_region(ptr %s, i64 %gpa, i64 %size)
  %nowhere = icmp eq ptr %r, null
  br i1 %nowhere, label %none, label %ram
none:
  ret ptr null
ram:
  %writable.p = getelementptr inbounds i8, ptr %r, i64 32
  %writable = load i64, ptr %writable.p
  %denied = icmp ult i64 %writable, %write
  br i1 %denied, label %none, label %good
good:
  %base = load i64, ptr %r
  %host.p = getelementptr inbounds i8, ptr %r, i64 16
  %host = load ptr, ptr %host.p
  %rel = sub i64 %gpa, %base
  %p = getelementptr inbounds i8, ptr %host, i64 %rel
  ret ptr %p
}}

; The same, with the largest region, the first in the list, looked at in place.
define internal ptr @ram_pointer(ptr %s, i64 %gpa, i64 %size, i64 %write) {{
entry:
  %r = getelementptr inbounds i8, ptr %s, i64 {regions}
  %base = load i64, ptr %r
  %size.p = getelementptr inbounds i8, ptr %r, i64 8
  %rsize = load i64, ptr %size.p
  %writable.p = getelementptr inbounds i8, ptr %r, i64 32
  %writable = load i64, ptr %writable.p
  %rel = sub i64 %gpa, %base
  %in = icmp ult i64 %rel, %rsize
  %rest = sub i64 %rsize, %rel
  %fits = icmp ule i64 %size, %rest
  %allowed = icmp uge i64 %writable, %write
  %inside = and i1 %in, %fits
  %ok = and i1 %inside, %allowed
  br i1 %ok, label %first, label %search
first:
  %host.p = getelementptr inbounds i8, ptr %r, i64 16
  %host = load ptr, ptr %host.p
  %p0 = getelementptr inbounds i8, ptr %host, i64 %rel
  br label %done
search:
  %p1 = call ptr @phys_pointer(ptr %s, i64 %gpa, i64 %size, i64 %write)
  br label %done
done:
  %p = phi ptr [ %p0, %first ], [ %p1, %search ]
  ret ptr %p
}}

; Translate for a data access inside one page and enter it into the TLB if that is allowed.
; {{left, host pointer or null for MMIO, gpa}}
define internal {{ i1, ptr, i64 }} @refill(ptr %s, i64 %a, i64 %access, i64 %size) noinline {{
  %t = call {translate} @"r.translate"(ptr %s, i64 %a, i64 %access, i64 %size) alwaysinline
  %left = extractvalue {translate} %t, 0
  br i1 %left, label %gone, label %mapped
gone:
  ret {{ i1, ptr, i64 }} {{ i1 true, ptr null, i64 0 }}
mapped:
  %gpa = extractvalue {translate} %t, 1
  %psize = extractvalue {translate} %t, 2
  %cache = extractvalue {translate} %t, 3
  %out = insertvalue {{ i1, ptr, i64 }} {{ i1 false, ptr null, i64 0 }}, i64 %gpa, 2
  %cacheable = icmp ne {cache_type} %cache, 0
  br i1 %cacheable, label %page, label %careful
page:
  %gpa.base = and i64 %gpa, -4096
  %host = call ptr @ram_pointer(ptr %s, i64 %gpa.base, i64 4096, i64 %access) alwaysinline
  %none = icmp eq ptr %host, null
  br i1 %none, label %careful, label %enter
careful:  ; a device, a page that is no whole one of RAM, or one of mixed rights
  %p0 = call ptr @phys_pointer(ptr %s, i64 %gpa, i64 %size, i64 %access)
  %out0 = insertvalue {{ i1, ptr, i64 }} %out, ptr %p0, 1
  ret {{ i1, ptr, i64 }} %out0
enter:
  %large = icmp ugt i64 %psize, 4096
  br i1 %large, label %note, label %fill
note:
  %space.i = call i64 @word(ptr %s, i64 {at[space]})
  %space = inttoptr i64 %space.i to ptr
  call void @note_size(ptr %space, i64 %a, i64 %psize)
  br label %fill
fill:
  %base = and i64 %a, -4096
  %host.i = ptrtoint ptr %host to i64
  %addend = sub i64 %host.i, %base
  call void @tlb_enter(ptr %s, i64 %base, i64 %access, i64 %addend)
  %in = and i64 %a, 4095
  %p1 = getelementptr inbounds i8, ptr %host, i64 %in
  %out1 = insertvalue {{ i1, ptr, i64 }} %out, ptr %p1, 1
  ret {{ i1, ptr, i64 }} %out1
}}
"""

_ACCESS = """
define dso_local {{ i1, i64 }} @slow_load(ptr %s, i64 %a, i64 %size) noinline {{
  %in = and i64 %a, 4095
  %room = sub i64 4096, %in
  %crosses = icmp ugt i64 %size, %room
  br i1 %crosses, label %split, label %one
split:
  %x = call {{ i1, i64 }} @split_load(ptr %s, i64 %a, i64 %size, i64 %room)
  ret {{ i1, i64 }} %x
one:
  %t = call {{ i1, ptr, i64 }} @refill(ptr %s, i64 %a, i64 {READ}, i64 %size)
  %left = extractvalue {{ i1, ptr, i64 }} %t, 0
  br i1 %left, label %gone, label %mapped
gone:
  ret {{ i1, i64 }} {{ i1 true, i64 0 }}
mapped:
  %p = extractvalue {{ i1, ptr, i64 }} %t, 1
  %mmio = icmp eq ptr %p, null
  br i1 %mmio, label %device, label %ram
ram:
  %v = call i64 @read_sized(ptr %p, i64 %size)
  %good = insertvalue {{ i1, i64 }} {{ i1 false, i64 0 }}, i64 %v, 1
  ret {{ i1, i64 }} %good
device:
  %gpa = extractvalue {{ i1, ptr, i64 }} %t, 2
  %less = sub i64 %size, 1
  %low = and i64 %gpa, %less
  %aligned = icmp eq i64 %low, 0
  br i1 %aligned, label %ask, label %fault
ask:
  %fn.i = call i64 @word(ptr %s, i64 {at[mmio_read]})
  %fn = inttoptr i64 %fn.i to ptr
  %who = call i64 @word(ptr %s, i64 {at[opaque]})
  %out = getelementptr inbounds i8, ptr %s, i64 {at[mmio_value]}
  call void @leave_guest_floats(ptr %s)
  %ok = call i64 %fn(i64 %who, i64 %gpa, i64 %size, ptr %out)
  call void @enter_guest_floats(ptr %s)
  %answered = icmp ne i64 %ok, 0
  br i1 %answered, label %value, label %fault
value:
  %mv = load i64, ptr %out
  %got = insertvalue {{ i1, i64 }} {{ i1 false, i64 0 }}, i64 %mv, 1
  ret {{ i1, i64 }} %got
fault:
  %f = call {{ i1 }} @"r.bus_fault"(ptr %s, i64 %a, i64 {READ})
  ret {{ i1, i64 }} {{ i1 true, i64 0 }}
}}

define internal i64 @read_sized(ptr %p, i64 %size) alwaysinline {{
  switch i64 %size, label %eight [ i64 1, label %one i64 2, label %two i64 4, label %four ]
one:
  %v1 = load i8, ptr %p
  %w1 = zext i8 %v1 to i64
  ret i64 %w1
two:
  %v2 = load i16, ptr %p, align 1
  %w2 = zext i16 %v2 to i64
  ret i64 %w2
four:
  %v4 = load i32, ptr %p, align 1
  %w4 = zext i32 %v4 to i64
  ret i64 %w4
eight:
  %v8 = load i64, ptr %p, align 1
  ret i64 %v8
}}

; An access over the end of a page: both translations first, then byte by byte; RAM only.
; {{left, first part, second part}}
define internal {{ i1, ptr, ptr }} @split_pointers(ptr %s, i64 %a, i64 %access, i64 %size, i64 %room) noinline {{
  %t1 = call {{ i1, ptr, i64 }} @refill(ptr %s, i64 %a, i64 %access, i64 %room)
  %left1 = extractvalue {{ i1, ptr, i64 }} %t1, 0
  br i1 %left1, label %gone, label %first
gone:
  ret {{ i1, ptr, ptr }} {{ i1 true, ptr null, ptr null }}
first:
  %p1 = extractvalue {{ i1, ptr, i64 }} %t1, 1
  %a2 = add i64 %a, %room
  %rest = sub i64 %size, %room
  %t2 = call {{ i1, ptr, i64 }} @refill(ptr %s, i64 %a2, i64 %access, i64 %rest)
  %left2 = extractvalue {{ i1, ptr, i64 }} %t2, 0
  br i1 %left2, label %gone, label %second
second:
  %p2 = extractvalue {{ i1, ptr, i64 }} %t2, 1
  %mmio1 = icmp eq ptr %p1, null
  %mmio2 = icmp eq ptr %p2, null
  %mmio = or i1 %mmio1, %mmio2
  br i1 %mmio, label %fault, label %good
fault:
  %where = select i1 %mmio1, i64 %a, i64 %a2
  %f = call {{ i1 }} @"r.bus_fault"(ptr %s, i64 %where, i64 %access)
  br label %gone
good:
  %o1 = insertvalue {{ i1, ptr, ptr }} {{ i1 false, ptr null, ptr null }}, ptr %p1, 1
  %o2 = insertvalue {{ i1, ptr, ptr }} %o1, ptr %p2, 2
  ret {{ i1, ptr, ptr }} %o2
}}

define internal {{ i1, i64 }} @split_load(ptr %s, i64 %a, i64 %size, i64 %room) noinline {{
entry:
  %t = call {{ i1, ptr, ptr }} @split_pointers(ptr %s, i64 %a, i64 {READ}, i64 %size, i64 %room)
  %left = extractvalue {{ i1, ptr, ptr }} %t, 0
  br i1 %left, label %gone, label %begin
gone:
  ret {{ i1, i64 }} {{ i1 true, i64 0 }}
begin:
  %p1 = extractvalue {{ i1, ptr, ptr }} %t, 1
  %p2 = extractvalue {{ i1, ptr, ptr }} %t, 2
  br label %loop
loop:
  %i = phi i64 [ 0, %begin ], [ %i1, %loop ]
  %acc = phi i64 [ 0, %begin ], [ %acc1, %loop ]
  %in.first = icmp ult i64 %i, %room
  %j = sub i64 %i, %room
  %q1 = getelementptr i8, ptr %p1, i64 %i
  %q2 = getelementptr i8, ptr %p2, i64 %j
  %q = select i1 %in.first, ptr %q1, ptr %q2
  %byte = load i8, ptr %q
  %wide = zext i8 %byte to i64
  %sh = shl i64 %i, 3
  %placed = shl i64 %wide, %sh
  %acc1 = or i64 %acc, %placed
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %size
  br i1 %more, label %loop, label %done
done:
  %out = insertvalue {{ i1, i64 }} {{ i1 false, i64 0 }}, i64 %acc1, 1
  ret {{ i1, i64 }} %out
}}

define internal i1 @split_store(ptr %s, i64 %a, i64 %size, i64 %room, i64 %v) noinline {{
entry:
  %t = call {{ i1, ptr, ptr }} @split_pointers(ptr %s, i64 %a, i64 {WRITE}, i64 %size, i64 %room)
  %left = extractvalue {{ i1, ptr, ptr }} %t, 0
  br i1 %left, label %gone, label %begin
gone:
  ret i1 true
begin:
  %p1 = extractvalue {{ i1, ptr, ptr }} %t, 1
  %p2 = extractvalue {{ i1, ptr, ptr }} %t, 2
  br label %loop
loop:
  %i = phi i64 [ 0, %begin ], [ %i1, %loop ]
  %in.first = icmp ult i64 %i, %room
  %j = sub i64 %i, %room
  %q1 = getelementptr i8, ptr %p1, i64 %i
  %q2 = getelementptr i8, ptr %p2, i64 %j
  %q = select i1 %in.first, ptr %q1, ptr %q2
  %sh = shl i64 %i, 3
  %shifted = lshr i64 %v, %sh
  %byte = trunc i64 %shifted to i8
  store i8 %byte, ptr %q
  %i1 = add i64 %i, 1
  %more = icmp ult i64 %i1, %size
  br i1 %more, label %loop, label %done
done:
  ret i1 false
}}

define dso_local i1 @slow_store(ptr %s, i64 %a, i64 %size, i64 %v) noinline {{
  %in = and i64 %a, 4095
  %room = sub i64 4096, %in
  %crosses = icmp ugt i64 %size, %room
  br i1 %crosses, label %split, label %one
split:
  %x = call i1 @split_store(ptr %s, i64 %a, i64 %size, i64 %room, i64 %v)
  ret i1 %x
one:
  %t = call {{ i1, ptr, i64 }} @refill(ptr %s, i64 %a, i64 {WRITE}, i64 %size)
  %left = extractvalue {{ i1, ptr, i64 }} %t, 0
  br i1 %left, label %gone, label %mapped
gone:
  ret i1 true
mapped:
  %p = extractvalue {{ i1, ptr, i64 }} %t, 1
  %mmio = icmp eq ptr %p, null
  br i1 %mmio, label %device, label %ram
ram:
  switch i64 %size, label %eight [ i64 1, label %b1 i64 2, label %b2 i64 4, label %b4 ]
b1:
  %v1 = trunc i64 %v to i8
  store i8 %v1, ptr %p
  ret i1 false
b2:
  %v2 = trunc i64 %v to i16
  store i16 %v2, ptr %p, align 1
  ret i1 false
b4:
  %v4 = trunc i64 %v to i32
  store i32 %v4, ptr %p, align 1
  ret i1 false
eight:
  store i64 %v, ptr %p, align 1
  ret i1 false
device:
  %gpa = extractvalue {{ i1, ptr, i64 }} %t, 2
  %less = sub i64 %size, 1
  %low = and i64 %gpa, %less
  %aligned = icmp eq i64 %low, 0
  br i1 %aligned, label %tell, label %fault
tell:
  %fn.i = call i64 @word(ptr %s, i64 {at[mmio_write]})
  %fn = inttoptr i64 %fn.i to ptr
  %who = call i64 @word(ptr %s, i64 {at[opaque]})
  call void @leave_guest_floats(ptr %s)
  %ok = call i64 %fn(i64 %who, i64 %gpa, i64 %size, i64 %v)
  call void @enter_guest_floats(ptr %s)
  %answered = icmp ne i64 %ok, 0
  br i1 %answered, label %done, label %fault
done:
  ret i1 false
fault:
  %f = call {{ i1 }} @"r.bus_fault"(ptr %s, i64 %a, i64 {WRITE})
  ret i1 true
}}

; For atomics: a writable host pointer. Devices have none.
define dso_local {{ i1, ptr }} @host_pointer(ptr %s, i64 %a, i64 %size) noinline {{
  %in = and i64 %a, 4095
  %room = sub i64 4096, %in
  %crosses = icmp ugt i64 %size, %room
  br i1 %crosses, label %fault, label %one
one:
  %t = call {{ i1, ptr, i64 }} @refill(ptr %s, i64 %a, i64 {WRITE}, i64 %size)
  %left = extractvalue {{ i1, ptr, i64 }} %t, 0
  br i1 %left, label %gone, label %mapped
mapped:
  %p = extractvalue {{ i1, ptr, i64 }} %t, 1
  %mmio = icmp eq ptr %p, null
  br i1 %mmio, label %fault, label %good
good:
  %o = insertvalue {{ i1, ptr }} {{ i1 false, ptr null }}, ptr %p, 1
  ret {{ i1, ptr }} %o
fault:
  %f = call {{ i1 }} @"r.bus_fault"(ptr %s, i64 %a, i64 {WRITE})
  br label %gone
gone:
  ret {{ i1, ptr }} {{ i1 true, ptr null }}
}}

define dso_local i1 @touch(ptr %s, i64 %a, i64 %access) noinline {{
  %t = call {translate} @"r.translate"(ptr %s, i64 %a, i64 %access, i64 1)
  %left = extractvalue {translate} %t, 0
  ret i1 %left
}}
"""


def memory(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    return (_RAM + _ACCESS).format_map(names(arch, layout))
