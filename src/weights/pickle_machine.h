// The stack machine behind read_pickle(). Used by pickle_reader.cpp and pickle_objects.cpp only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "weights/pickle_reader.h"

namespace t2v::weights {

// One pass over the opcodes with a stack of ids.
class PickleMachine {
 public:
  PickleMachine(std::string_view text, const std::string& name, ErrorKind kind)
      : text_(text), name_(name), kind_(kind) {}

  // Throws Error{kind} naming the file.
  Pickle run();

 private:
  [[noreturn]] void refuse(const std::string& why) const;

  // Bytes of the pickle.
  std::string_view take(uint64_t size);
  uint64_t take_unsigned(size_t size);
  std::string_view take_line();

  // The stack.
  void push(const PickleValue& value);
  void push_id(PickleId id);
  void push_container(PickleKind kind, std::vector<PickleId> items);
  PickleId pop();
  [[nodiscard]] PickleId top() const;
  std::vector<PickleId> pop_to_mark();
  std::vector<PickleId>& items_on_top(PickleKind kind);

  // One opcode; the others return whether it was theirs.
  bool step();
  bool step_container(uint8_t code);
  bool step_number(uint8_t code);
  bool step_text(uint8_t code);
  bool step_memo(uint8_t code);
  bool step_object(uint8_t code);

  void push_tuple(size_t size);
  void add_items(const std::vector<PickleId>& items);
  void put(uint64_t index);
  void get(uint64_t index);
  void push_global(std::string_view module, std::string_view name);
  void push_storage();
  void reduce();
  void build();

  [[nodiscard]] std::span<const PickleId> tuple(PickleId id, const char* what) const;
  [[nodiscard]] int64_t whole(PickleId id, const char* what) const;
  [[nodiscard]] std::vector<int64_t> wholes(PickleId id, const char* what) const;
  [[nodiscard]] PickleValue rebuilt_tensor(std::span<const PickleId> arguments);

  std::string_view text_;
  const std::string& name_;
  ErrorKind kind_;
  size_t position_ = 0;
  Pickle pickle_;
  std::vector<PickleId> stack_;
  std::vector<size_t> marks_;  // sizes of the stack
  std::unordered_map<uint64_t, PickleId> memo_;
};

}  // namespace t2v::weights
