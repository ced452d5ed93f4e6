// The payload (see payload.rs), in Intel's syntax. Names in braces are of payload/layout.rs.
//
// Registers that all of it keeps:
//   R12 the shared page, R13 the samples, R14 how many are wanted, R15 how many there are,
//   RSI and RDI the command's operands, RBP when it ends at the latest; R8 the beginning of a sample.
    .pushsection .rodata.optimus_bench, "a", @progbits
    .balign 16
    .globl optimus_bench_payload
optimus_bench_payload:
.Lob_start:
    // Where things begin, for who makes the file.
    .long .Lob_entry - .Lob_start
    .long .Lob_interrupt - .Lob_start
    .long .Lob_spurious - .Lob_start
    .long .Lob_faults - .Lob_start

    // From 32-bit protected mode without paging to 64 bits.
    .code32
.Lob_entry:
    cli
    cld
    mov eax, cr4
    or eax, 0x620  // PAE; SSE, which LFENCE belongs to
    mov cr4, eax
    mov eax, {page_tables}
    mov cr3, eax
    mov ecx, 0xc0000080  // EFER.LME
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, {gdtr}
    lgdt [eax]
    mov eax, cr0
    and eax, 0x9fffffff  // caches on
    or eax, 0x80000001
    mov cr0, eax
    .byte 0xea  // jmp far
    .long {base} + (.Lob_long - .Lob_start)
    .short 8

    .code64
.Lob_long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, {stack}
    mov eax, {idtr}
    lidt [rax]
    mov r12d, {page}
    mov r13d, {samples}
    // Neither 8259 is heard; the local APIC is on, with 0xff for spurious interrupts.
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    mov eax, 0xfee000f0
    mov dword ptr [rax], 0x1ff
    // Whether its timer has deadlines.
    mov eax, 1
    xor ecx, ecx
    cpuid
    mov dword ptr [r12 + {features}], ecx
    mov qword ptr [r12 + {up}], 1

.Lob_wait:
    mov rax, [r12 + {wanted}]
    cmp rax, [r12 + {done}]
    jne .Lob_command
    pause
    jmp .Lob_wait

.Lob_command:
    mov rax, cr3  // the window may have been moved
    mov cr3, rax
    xor r15d, r15d
    mov [r12 + {lost}], r15
    mov [r12 + {fault}], r15
    mov [r12 + {stolen}], r15
    mov r14, [r12 + {count}]
    mov rsi, [r12 + {address}]
    mov rdi, [r12 + {value}]
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [r12 + {elapsed}], rax
    mov rbp, rax
    add rbp, [r12 + {limit}]
    mov rbx, [r12 + {kind}]
    lea rdx, [rip + .Lob_table]
    movsxd rax, dword ptr [rdx + rbx * 4]
    add rax, rdx
    jmp rax
    .balign 4
.Lob_table:
    .long .Lob_nothing - .Lob_table
    .long .Lob_cpuid - .Lob_table
    .long .Lob_port - .Lob_table
    .long .Lob_read - .Lob_table
    .long .Lob_write - .Lob_table
    .long .Lob_cf8 - .Lob_table
    .long .Lob_raise - .Lob_table
    .long .Lob_wake - .Lob_table
    .long .Lob_spin - .Lob_table
    .long .Lob_clock - .Lob_table
    .long .Lob_script - .Lob_table

    // A sample begins and ends. RAX and RDX are lost, and R9 is the time of its end.
.macro ob_begin
    lfence
    rdtsc
    lfence
    shl rdx, 32
    or rax, rdx
    mov r8, rax
.endm
.macro ob_end again
    lfence
    rdtsc
    lfence
    shl rdx, 32
    or rax, rdx
    mov r9, rax
    sub rax, r8
    mov [r13 + r15 * 8], rax
    inc r15
    cmp r15, r14
    jae .Lob_done
    cmp r9, rbp
    jb \again
    jmp .Lob_done
.endm
    // The clock in RAX, without order.
.macro ob_now
    rdtsc
    shl rdx, 32
    or rax, rdx
.endm

.Lob_nothing:
    ob_begin
    ob_end .Lob_nothing

.Lob_cpuid:
    ob_begin
    xor eax, eax
    xor ecx, ecx
    cpuid
    ob_end .Lob_cpuid

    // A byte from the port in SI.
.Lob_port:
    ob_begin
    mov edx, esi
    in al, dx
    ob_end .Lob_port

    // Four bytes from RSI; the last value is told.
.Lob_read:
    ob_begin
    mov ecx, [rsi]
    mov [r12 + {seen}], rcx
    ob_end .Lob_read

    // EDI to RSI, until it has left the processor.
.Lob_write:
    ob_begin
    mov [rsi], edi
    mfence
    ob_end .Lob_write

    // The register that ESI names, by both ports.
.Lob_cf8:
    ob_begin
    mov edx, 0xcf8
    mov eax, esi
    out dx, eax
    mov edx, 0xcfc
    in eax, dx
    mov [r12 + {seen}], rax
    ob_end .Lob_cf8

    // EDI to RSI, and the time until an interrupt's handler has begun. One that does not come is lost.
.Lob_raise:
    mov r10, [r12 + {interrupts}]
    sti
    ob_begin
    mov [rsi], edi
    mov r11, r8
    add r11, [r12 + {patience}]
3:
    cmp r10, [r12 + {interrupts}]
    jne 4f
    pause
    ob_now
    cmp rax, r11
    jb 3b
    // One that came while the vCPU was off its CPU, between the look and the clock, is not lost.
    cmp r10, [r12 + {interrupts}]
    jne 4f
    cli
    inc qword ptr [r12 + {lost}]
    dec r14
    jmp 5f
4:
    cli
    mov r10, [r12 + {interrupts}]
    mov rax, [r12 + {moment}]
    sub rax, r8
    sti
    js 3b  // one from before, late
    cli
    mov [r13 + r15 * 8], rax
    inc r15
5:
    ob_now
    cmp rax, rbp
    jae .Lob_done
    cmp r15, r14
    jb .Lob_raise
    jmp .Lob_done

    // Halts for RDI ticks each: from the moment that the timer was set for to the handler.
.Lob_wake:
    mov eax, 0xfee00320
    mov dword ptr [rax], 0x40020  // by TSC deadline, vector 0x20
    mfence
6:
    mov r10, [r12 + {interrupts}]
    ob_now
    add rax, rdi
    mov r8, rax
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0x6e0
    wrmsr
7:
    sti
    hlt
    cli
    cmp r10, [r12 + {interrupts}]
    je 7b
    xor edx, edx
    mov rax, [r12 + {moment}]
    sub rax, r8
    cmovs rax, rdx
    mov [r13 + r15 * 8], rax
    inc r15
    ob_now
    cmp rax, rbp
    jae .Lob_done
    cmp r15, r14
    jb 6b
    jmp .Lob_done

    // Spins: the longest gap between two looks at the clock in each span of RDI ticks. Those of more than the patience are stolen.
.Lob_spin:
    ob_now
    mov r8, rax
    lea r9, [rax + rdi]
    xor r10d, r10d
8:
    ob_now
    mov rcx, rax
    sub rcx, r8
    mov r8, rax
    cmp r10, rcx
    cmovb r10, rcx
    cmp rcx, [r12 + {patience}]
    jb 9f
    add [r12 + {stolen}], rcx
9:
    cmp rax, r9
    jb 8b
    mov [r13 + r15 * 8], r10
    inc r15
    xor r10d, r10d
    lea r9, [rax + rdi]
    cmp r15, r14
    jae .Lob_done
    cmp rax, rbp
    jb 8b
    jmp .Lob_done

    // How much time-stamp counter there is to RDI ticks of a 24-bit timer at the port in SI, and how many those were.
.Lob_clock:
    mov edx, esi
    in eax, dx
    mov ebx, eax
    ob_now
    mov r8, rax
20:
    mov edx, esi
    in eax, dx
    sub eax, ebx
    and eax, 0xffffff
    mov ecx, eax
    ob_now
    cmp ecx, edi
    jb 20b
    sub rax, r8
    mov [r13], rax
    mov [r13 + 8], rcx
    mov r15d, 2
    jmp .Lob_done

    // Writes that the page lists, then a register until it has the value that is waited for.
.Lob_script:
    ob_begin
    lea r9, [r12 + {steps}]
    mov r10, [r12 + {step_count}]
21:
    mov rax, [r9]
    mov rdx, [r9 + 8]
    cmp dword ptr [r9 + 16], 8
    je 12f
    mov [rax], edx
    jmp 13f
12:
    mov [rax], rdx
13:
    add r9, 24
    dec r10
    jnz 21b
    mov r11, r8
    add r11, [r12 + {patience}]
14:
    mov ecx, [rsi]
    and ecx, edi
    cmp ecx, [r12 + {expected}]
    je 15f
    ob_now
    cmp rax, r11
    jb 14b
    // Once more, as the vCPU may have been off its CPU between the look and the clock.
    mov ecx, [rsi]
    and ecx, edi
    cmp ecx, [r12 + {expected}]
    je 15f
    inc qword ptr [r12 + {lost}]
    jmp .Lob_done
15:
    ob_end .Lob_script

.Lob_done:
    cli
    ob_now
    sub rax, [r12 + {elapsed}]
    mov [r12 + {elapsed}], rax
    mov [r12 + {taken}], r15
    mov rax, [r12 + {wanted}]
    mov [r12 + {done}], rax
    mov edx, [r12 + {doorbell}]
    test edx, edx
    jz .Lob_wait
    out dx, al
    jmp .Lob_wait

    // The timer's and the device's interrupt: the time first.
.Lob_interrupt:
    push rax
    push rdx
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov [r12 + {moment}], rax
    mov rax, [r12 + {acknowledge}]
    test rax, rax
    jz 16f
    mov edx, [r12 + {acknowledgement}]
    mov [rax], edx
    mov edx, [rax]  // until the device has it: a line must be low before the end of the interrupt
16:
    inc qword ptr [r12 + {interrupts}]
    mov eax, 0xfee000b0
    mov dword ptr [rax], 0
    pop rdx
    pop rax
    iretq

.Lob_spurious:
    iretq

    // An exception ends the command, and is told with its number, RIP (or the error code and RIP) and CR2.
.Lob_fault:
    mov rax, [rsp]
    inc rax
    mov [r12 + {fault}], rax
    mov rax, [rsp + 8]
    mov [r12 + {fault} + 8], rax
    mov rax, [rsp + 16]
    mov [r12 + {fault} + 16], rax
    mov rax, cr2
    mov [r12 + {fault} + 24], rax
    mov esp, {stack}
    jmp .Lob_done
    .balign 16
.Lob_faults:
    .irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .balign 16
    push \vector
    jmp .Lob_fault
    .endr
    .globl optimus_bench_payload_end
optimus_bench_payload_end:
    .purgem ob_begin
    .purgem ob_end
    .purgem ob_now
    .popsection
