// Counts what an aarch64 program executes under qemu: a plugin of its interface's version 1 (qemu 4.2 and later).
//
// At the end it prints "executed OTHER WIDE WIDER": instructions that load or store 16 bytes are wide, those that load or
// store pairs or lists of registers of 16 bytes are wider.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t Id;
typedef struct qemu_plugin_tb Block;
typedef struct qemu_plugin_insn Instruction;

extern void qemu_plugin_register_vcpu_tb_trans_cb(Id id, void (*call)(Id, Block *));
extern void qemu_plugin_register_atexit_cb(Id id, void (*call)(Id, void *), void *data);
extern size_t qemu_plugin_tb_n_insns(const Block *block);
extern Instruction *qemu_plugin_tb_get_insn(const Block *block, size_t index);
extern const void *qemu_plugin_insn_data(const Instruction *instruction);
extern void qemu_plugin_register_vcpu_insn_exec_inline(Instruction *instruction, int add, void *counter, uint64_t one);
extern void qemu_plugin_outs(const char *text);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { kOther, kWide, kWider, kClasses };
static uint64_t executed[kClasses];

// Arm ARM, C4.1: loads and stores have bits 27 and 25 set to 1 and 0; bit 26 says vector registers.
static int ClassOf(uint32_t code) {
  if (((code >> 25) & 5) != 4) return kOther;
  const int vector = (code >> 26) & 1, form = (code >> 28) & 3, size = (int)(code >> 30);
  if (form == 2) {  // a pair of registers
    if (vector) return size == 2 ? kWider : size == 1 ? kWide : kOther;
    return size == 2 ? kWide : kOther;
  }
  if (!vector) return kOther;
  if (form == 0) return kWider;  // lists and single lanes of structures
  if (form == 1) return size == 2 ? kWide : kOther;  // from a literal
  return size == 0 && ((code >> 23) & 1) ? kWide : kOther;
}

static void Translate(Id id, Block *block) {
  (void)id;
  for (size_t index = 0; index < qemu_plugin_tb_n_insns(block); ++index) {
    Instruction *instruction = qemu_plugin_tb_get_insn(block, index);
    const uint32_t code = *(const uint32_t *)qemu_plugin_insn_data(instruction);
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, 0, &executed[ClassOf(code)], 1);
  }
}

static void Report(Id id, void *data) {
  (void)id;
  (void)data;
  char text[96];
  snprintf(text, sizeof text, "executed %llu %llu %llu\n", (unsigned long long)executed[kOther],
           (unsigned long long)executed[kWide], (unsigned long long)executed[kWider]);
  qemu_plugin_outs(text);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const void *info, int count, char **words) {
  (void)info;
  (void)count;
  (void)words;
  qemu_plugin_register_vcpu_tb_trans_cb(id, Translate);
  qemu_plugin_register_atexit_cb(id, Report, NULL);
  return 0;
}
