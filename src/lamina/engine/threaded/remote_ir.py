"""Fences and interrupts for other vCPUs without leaving compiled code, as LLVM assembly.

Each vCPU's block has a *mailbox* (`layout.mailbox`): senders put fences in its ring under its lock
and make the vCPU look at its next boundary; it takes them all, again under the lock. A ring that
is full stands for a flush of everything. A sender waits until each target has taken what it sent,
or is outside of guest code: it takes the rest before it enters that again. While a sender waits it
counts as outside itself, so that vCPUs that fence each other do not wait for ever.

A fence does not wake a vCPU that sleeps (`wait_ir`): it takes the fence before it goes on.

Interrupts are bits in the target's word `posted`; it takes them over into the slot of its software
interrupts at its next boundary, so that nobody else writes that slot.

`remote_fence` and `remote_post` are called by the operations `fence.remote` and `post.remote`; they
decline (0) unless the machine named the other vCPUs (`set_peers`) and all targets are among these.
See `runtime_ir` for the notation.
"""

from lamina.engine.threaded.layout import RING, ThreadedLayout
from lamina.engine.threaded.runtime_ir import names
from lamina.isa.arch import Arch

# What a letter in the ring asks for; the kinds of `fence.remote` are these, too.
CODE, PAGES, SPACE_PAGES, ALL, SPACE = range(5)
MOST_PAGES = 64  # more are a whole address space
RELAXED = 63  # so many pauses of a guest, a power of two less one, before it gives up its slice
SPINS = 200  # looks at a target before the host thread gives up its time slice

_MAILBOX = """
define internal ptr @mailbox(ptr %s) alwaysinline {{
  %p = getelementptr inbounds i8, ptr %s, i64 {mailbox}
  ret ptr %p
}}
; Fields of a mailbox: lock, letters sent, letters taken, 1 while guest code runs, 1 if one was lost.
define internal ptr @mail_field(ptr %s, i64 %n) alwaysinline {{
  %box = call ptr @mailbox(ptr %s)
  %p = getelementptr inbounds i64, ptr %box, i64 %n
  ret ptr %p
}}
define internal void @enter_guest(ptr %s) alwaysinline {{
  %p = call ptr @mail_field(ptr %s, i64 3)
  %was = atomicrmw xchg ptr %p, i64 1 seq_cst
  ret void
}}
define internal void @leave_guest(ptr %s) alwaysinline {{
  %p = call ptr @mail_field(ptr %s, i64 3)
  store atomic i64 0, ptr %p seq_cst, align 8
  ret void
}}

define internal void @breathe(ptr %s, i64 %i) noinline {{
  call void asm sideeffect "pause", ""()
  %long = icmp ugt i64 %i, {SPINS}
  br i1 %long, label %yield, label %done
yield:
  %fn.i = call i64 @word(ptr %s, i64 {at[sched_yield]})
  %fn = inttoptr i64 %fn.i to ptr
  %ignored = call i32 %fn()
  br label %done
done:
  ret void
}}

; The guest waits in a loop for another vCPU, which may be waiting for this thread's host CPU.
define dso_local void @relax(ptr %s) noinline {{
  call void @count(ptr %s, i64 {at[relaxed]})
  %others = call i64 @word(ptr %s, i64 {at[peer_count]})
  %some = icmp ugt i64 %others, 1
  br i1 %some, label %pause, label %done
pause:
  %n = call i64 @word(ptr %s, i64 {at[relaxed]})
  %often = and i64 %n, {RELAXED}
  %now = icmp eq i64 %often, 0
  %turn = select i1 %now, i64 -1, i64 0
  call void @breathe(ptr %s, i64 %turn)
  br label %done
done:
  ret void
}}

; Lock the mailbox of %t; %s is who does it.
define internal void @lock_mail(ptr %s, ptr %t) noinline {{
entry:
  %lock = call ptr @mail_field(ptr %t, i64 0)
  br label %try
try:
  %i = phi i64 [ 0, %entry ], [ %i1, %wait ]
  %was = atomicrmw xchg ptr %lock, i64 1 seq_cst
  %free = icmp eq i64 %was, 0
  br i1 %free, label %done, label %wait
wait:
  %i1 = add i64 %i, 1
  call void @breathe(ptr %s, i64 %i)
  br label %try
done:
  ret void
}}
define internal void @unlock_mail(ptr %t) alwaysinline {{
  %lock = call ptr @mail_field(ptr %t, i64 0)
  store atomic i64 0, ptr %lock seq_cst, align 8
  ret void
}}

; Put a fence into the mailbox of %t. Returns its number.
define internal i64 @send_fence(ptr %s, ptr %t, i64 %kind, i64 %space, i64 %start, i64 %pages) noinline {{
  call void @lock_mail(ptr %s, ptr %t)
  %sent.p = call ptr @mail_field(ptr %t, i64 1)
  %taken.p = call ptr @mail_field(ptr %t, i64 2)
  %sent = load i64, ptr %sent.p
  %taken = load i64, ptr %taken.p
  %waiting = sub i64 %sent, %taken
  %full = icmp uge i64 %waiting, {RING}
  br i1 %full, label %lost, label %put
lost:
  %lost.p = call ptr @mail_field(ptr %t, i64 4)
  store i64 1, ptr %lost.p
  br label %sent.it
put:
  %box = call ptr @mailbox(ptr %t)
  %ring = getelementptr inbounds i8, ptr %box, i64 64
  %slot = urem i64 %sent, {RING}
  %letter = getelementptr inbounds [4 x i64], ptr %ring, i64 %slot
  store i64 %kind, ptr %letter
  %space.p = getelementptr inbounds i64, ptr %letter, i64 1
  store i64 %space, ptr %space.p
  %start.p = getelementptr inbounds i64, ptr %letter, i64 2
  store i64 %start, ptr %start.p
  %pages.p = getelementptr inbounds i64, ptr %letter, i64 3
  store i64 %pages, ptr %pages.p
  br label %sent.it
sent.it:
  %number = add i64 %sent, 1
  store i64 %number, ptr %sent.p
  call void @unlock_mail(ptr %t)
  %pend.p = getelementptr inbounds i8, ptr %t, i64 {slot[pending]}
  store atomic i64 {always}, ptr %pend.p seq_cst, align 8
  ret i64 %number
}}

define internal void @do_fence(ptr %s, i64 %kind, i64 %space, i64 %start, i64 %pages) noinline {{
entry:
  switch i64 %kind, label %done [ i64 {CODE}, label %code i64 {ALL}, label %all i64 {SPACE}, label %one
    i64 {PAGES}, label %some i64 {SPACE_PAGES}, label %some ]
code:
  call void @icache_flush(ptr %s)
  ret void
all:
  call void @tlb_flush(ptr %s)
  ret void
one:
  call void @tlb_flush_space(ptr %s, i64 %space)
  ret void
some:
  %in.space = icmp eq i64 %kind, {SPACE_PAGES}
  br label %loop
loop:
  %i = phi i64 [ 0, %some ], [ %i1, %next ]
  %more = icmp ult i64 %i, %pages
  br i1 %more, label %page, label %done
page:
  %rel = shl i64 %i, 12
  %a = add i64 %start, %rel
  br i1 %in.space, label %in.one, label %in.all
in.one:
  call void @tlb_flush_space_page(ptr %s, i64 %space, i64 %a)
  br label %next
in.all:
  call void @tlb_flush_page(ptr %s, i64 %a)
  br label %next
next:
  %i1 = add i64 %i, 1
  br label %loop
done:
  ret void
}}

; Do what others have sent. Called at each boundary.
define internal void @take_mail(ptr %s) alwaysinline {{
  %posted.p = getelementptr inbounds i8, ptr %s, i64 {slot[posted]}
  %posted0 = load atomic i64, ptr %posted.p seq_cst, align 8
  %any = icmp ne i64 %posted0, 0
  br i1 %any, label %interrupts, label %fences, !prof !1
interrupts:
  %posted = atomicrmw xchg ptr %posted.p, i64 0 seq_cst
  %soft.p = getelementptr inbounds i8, ptr %s, i64 {posted_slot}
  %soft = load i64, ptr %soft.p
  %raised = or i64 %soft, %posted
  store i64 %raised, ptr %soft.p
  br label %fences
fences:
  %sent.p0 = call ptr @mail_field(ptr %s, i64 1)
  %taken.p0 = call ptr @mail_field(ptr %s, i64 2)
  %sent0 = load atomic i64, ptr %sent.p0 seq_cst, align 8
  %taken0 = load i64, ptr %taken.p0
  %none = icmp eq i64 %sent0, %taken0
  br i1 %none, label %done, label %take, !prof !0
take:
  call void @take_letters(ptr %s)
  br label %done
done:
  ret void
}}

define internal void @take_letters(ptr %s) noinline cold {{
entry:
  call void @lock_mail(ptr %s, ptr %s)
  %sent.p = call ptr @mail_field(ptr %s, i64 1)
  %taken.p = call ptr @mail_field(ptr %s, i64 2)
  %lost.p = call ptr @mail_field(ptr %s, i64 4)
  %sent = load i64, ptr %sent.p
  %first = load i64, ptr %taken.p
  %lost = load i64, ptr %lost.p
  store i64 0, ptr %lost.p
  %over = icmp ne i64 %lost, 0
  br i1 %over, label %all, label %some
all:
  call void @tlb_flush(ptr %s)
  br label %end
some:
  %box = call ptr @mailbox(ptr %s)
  %ring = getelementptr inbounds i8, ptr %box, i64 64
  br label %loop
loop:
  %i = phi i64 [ %first, %some ], [ %i1, %one ]
  %any = icmp ne i64 %i, %sent
  br i1 %any, label %one, label %end
one:
  %slot = urem i64 %i, {RING}
  %letter = getelementptr inbounds [4 x i64], ptr %ring, i64 %slot
  %space.p = getelementptr inbounds i64, ptr %letter, i64 1
  %start.p = getelementptr inbounds i64, ptr %letter, i64 2
  %pages.p = getelementptr inbounds i64, ptr %letter, i64 3
  %kind = load i64, ptr %letter
  %space = load i64, ptr %space.p
  %start = load i64, ptr %start.p
  %pages = load i64, ptr %pages.p
  call void @do_fence(ptr %s, i64 %kind, i64 %space, i64 %start, i64 %pages)
  %i1 = add i64 %i, 1
  br label %loop
end:
  store atomic i64 %sent, ptr %taken.p seq_cst, align 8
  call void @unlock_mail(ptr %s)
  ret void
}}
"""

_SENDER = """
; The vCPUs of a mask as bits: bit n is vCPU %base + n, %base -1 is all. {{not all there, bits}}
define internal {{ i1, i64 }} @targets(ptr %s, i64 %mask, i64 %base) noinline {{
  %n = call i64 @word(ptr %s, i64 {at[peer_count]})
  %known = icmp ne i64 %n, 0
  br i1 %known, label %which, label %decline
decline:
  ret {{ i1, i64 }} {{ i1 true, i64 0 }}
which:
  %unused = sub i64 64, %n
  %every = lshr i64 -1, %unused
  %all = icmp eq i64 %base, -1
  %far = icmp uge i64 %base, %n
  %shift = select i1 %far, i64 0, i64 %base
  %shifted = shl i64 %mask, %shift
  %back = lshr i64 %shifted, %shift
  %cut = icmp ne i64 %back, %mask
  %high = xor i64 %every, -1
  %beyond.bits = and i64 %shifted, %high
  %beyond = icmp ne i64 %beyond.bits, 0
  %bad0 = or i1 %far, %cut
  %bad1 = or i1 %bad0, %beyond
  %bad = select i1 %all, i1 false, i1 %bad1
  br i1 %bad, label %decline, label %what
what:
  %targets = select i1 %all, i64 %every, i64 %shifted
  %found = insertvalue {{ i1, i64 }} {{ i1 false, i64 0 }}, i64 %targets, 1
  ret {{ i1, i64 }} %found
}}
define internal ptr @peer(ptr %s, i64 %number) alwaysinline {{
  %peers.i = call i64 @word(ptr %s, i64 {at[peers]})
  %peers = inttoptr i64 %peers.i to ptr
  %p = getelementptr inbounds ptr, ptr %peers, i64 %number
  %peer = load ptr, ptr %p
  ret ptr %peer
}}

; Set bits in the slot of software interrupts of the vCPUs of a mask (see `targets`). 1, or 0: nothing
; was done.
define dso_local i64 @remote_post(ptr %s, i64 %mask, i64 %base, i64 %bits) noinline {{
entry:
  %which = call {{ i1, i64 }} @targets(ptr %s, i64 %mask, i64 %base)
  %bad = extractvalue {{ i1, i64 }} %which, 0
  %targets = extractvalue {{ i1, i64 }} %which, 1
  br i1 %bad, label %decline, label %loop
decline:
  ret i64 0
loop:
  %left = phi i64 [ %targets, %entry ], [ %rest, %one ]
  %none = icmp eq i64 %left, 0
  br i1 %none, label %done, label %one
one:
  %number = call i64 @llvm.cttz.i64(i64 %left, i1 true)
  %less = sub i64 %left, 1
  %rest = and i64 %left, %less
  %target = call ptr @peer(ptr %s, i64 %number)
  %posted.p = getelementptr inbounds i8, ptr %target, i64 {slot[posted]}
  %was = atomicrmw or ptr %posted.p, i64 %bits seq_cst
  call void @wake(ptr %s, ptr %target)
  call void @count(ptr %s, i64 {at[posts]})
  br label %loop
done:
  ret i64 1
}}
declare i64 @llvm.cttz.i64(i64, i1)

; Fence the vCPUs of a mask (see `targets`). 1, or 0: nothing was done.
define dso_local i64 @remote_fence(ptr %s, i64 %kind, i64 %mask, i64 %base, i64 %start, i64 %size, i64 %space) noinline {{
entry:
  %numbers = alloca [64 x i64]
  %n = call i64 @word(ptr %s, i64 {at[peer_count]})
  %which = call {{ i1, i64 }} @targets(ptr %s, i64 %mask, i64 %base)
  %bad = extractvalue {{ i1, i64 }} %which, 0
  %targets = extractvalue {{ i1, i64 }} %which, 1
  br i1 %bad, label %decline, label %what
decline:
  ret i64 0
what:
  ; Whole address spaces: by start and size 0, by size -1, by many pages.
  %both = or i64 %start, %size
  %nothing = icmp eq i64 %both, 0
  %in = and i64 %start, 4095
  %room = add i64 %in, 4095
  %bytes = add i64 %size, %room
  %wraps = icmp ult i64 %bytes, %size
  %pages = lshr i64 %bytes, 12
  %many = icmp ugt i64 %pages, {MOST_PAGES}
  %whole0 = or i1 %nothing, %wraps
  %whole1 = or i1 %whole0, %many
  %is.code = icmp eq i64 %kind, {CODE}
  %is.space = icmp eq i64 %kind, {SPACE_PAGES}
  %larger = select i1 %is.space, i64 {SPACE}, i64 {ALL}
  %due0 = select i1 %whole1, i64 %larger, i64 %kind
  %due = select i1 %is.code, i64 %kind, i64 %due0
  br label %send
send:
  %t = phi i64 [ 0, %what ], [ %t1, %sent ]
  %more = icmp ult i64 %t, %n
  br i1 %more, label %ask, label %wait
ask:
  %bits = lshr i64 %targets, %t
  %meant = trunc i64 %bits to i1
  br i1 %meant, label %one, label %sent
one:
  %target = call ptr @peer(ptr %s, i64 %t)
  %self = icmp eq ptr %target, %s
  br i1 %self, label %own, label %other
own:
  call void @do_fence(ptr %s, i64 %due, i64 %space, i64 %start, i64 %pages)
  br label %sent
other:
  %number = call i64 @send_fence(ptr %s, ptr %target, i64 %due, i64 %space, i64 %start, i64 %pages)
  %number.p = getelementptr inbounds [64 x i64], ptr %numbers, i64 0, i64 %t
  store i64 %number, ptr %number.p
  br label %sent
sent:
  %t1 = add i64 %t, 1
  br label %send
wait:
  call void @leave_guest(ptr %s)
  br label %await
await:
  %w = phi i64 [ 0, %wait ], [ %w1, %done.one ]
  %any = icmp ult i64 %w, %n
  br i1 %any, label %next, label %end
next:
  %w.bits = lshr i64 %targets, %w
  %w.meant = trunc i64 %w.bits to i1
  br i1 %w.meant, label %sent.to, label %done.one
sent.to:
  %waited = call ptr @peer(ptr %s, i64 %w)
  %me = icmp eq ptr %waited, %s
  br i1 %me, label %done.one, label %prepare
prepare:
  %due.p = getelementptr inbounds [64 x i64], ptr %numbers, i64 0, i64 %w
  %due.number = load i64, ptr %due.p
  %w.taken.p = call ptr @mail_field(ptr %waited, i64 2)
  %w.in.p = call ptr @mail_field(ptr %waited, i64 3)
  br label %look
look:
  %i = phi i64 [ 0, %prepare ], [ %i1, %again ]
  %w.in = load atomic i64, ptr %w.in.p seq_cst, align 8
  %w.taken = load atomic i64, ptr %w.taken.p seq_cst, align 8
  %behind = sub i64 %w.taken, %due.number
  %not.yet = icmp slt i64 %behind, 0
  %inside = icmp ne i64 %w.in, 0
  %both.so = and i1 %not.yet, %inside
  br i1 %both.so, label %again, label %done.one
again:
  call void @breathe(ptr %s, i64 %i)
  %i1 = add i64 %i, 1
  br label %look
done.one:
  %w1 = add i64 %w, 1
  br label %await
end:
  call void @enter_guest(ptr %s)
  ret i64 1
}}
"""


def remote(arch: Arch, layout: ThreadedLayout) -> str:
    """The text of this file for an architecture."""
    table = names(arch, layout) | {
        "CODE": CODE,
        "PAGES": PAGES,
        "SPACE_PAGES": SPACE_PAGES,
        "ALL": ALL,
        "SPACE": SPACE,
        "MOST_PAGES": MOST_PAGES,
        "SPINS": SPINS,
        "RELAXED": RELAXED,
        "RING": RING,
        "mailbox": layout.mailbox,
        "posted_slot": 8 * arch.layout.index[arch.posted_slot or "posted"],
    }
    return (_MAILBOX + _SENDER).format_map(table)
