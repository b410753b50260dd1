#include "weights/pickle_reader.h"

#include <algorithm>

#include "core/check.h"
#include "weights/pickle_machine.h"
#include "weights/pickle_opcodes.h"

namespace t2v::weights {
namespace {

constexpr size_t kMaxValues = 4'000'000;  // a state dict needs about 15 for a tensor
constexpr size_t kMaxMarks = 64;          // nesting of lists, tuples and dicts under construction
constexpr uint8_t kMaxProtocol = 5;

}  // namespace

Pickle PickleMachine::run() {
  while (step()) {
  }
  return std::move(pickle_);
}

void PickleMachine::refuse(const std::string& why) const {
  throw Error(kind_, core::str("broken pickle: ", why, " (", name_, ")"));
}

std::string_view PickleMachine::take(uint64_t size) {
  if (size > text_.size() - position_) {
    refuse(core::str("it ends at byte ", text_.size(), ", ", size, " more are expected after byte ",
                     position_));
  }
  const std::string_view taken = text_.substr(position_, static_cast<size_t>(size));
  position_ += taken.size();
  return taken;
}

uint64_t PickleMachine::take_unsigned(size_t size) {
  const std::string_view raw = take(size);
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[i]);
  return value;
}

std::string_view PickleMachine::take_line() {
  const size_t end = text_.find('\n', position_);
  if (end == std::string_view::npos) refuse("a line has no end");
  const std::string_view line = take(end - position_);
  take(1);
  return line;
}

void PickleMachine::push_id(PickleId id) {
  if (stack_.size() >= kMaxValues) refuse(core::str("its stack exceeds ", kMaxValues, " values"));
  stack_.push_back(id);
}

void PickleMachine::push(const PickleValue& value) {
  if (pickle_.values.size() >= kMaxValues)
    refuse(core::str("it has more than ", kMaxValues, " values"));
  pickle_.values.push_back(value);
  push_id(static_cast<PickleId>(pickle_.values.size() - 1));
}

void PickleMachine::push_container(PickleKind kind, std::vector<PickleId> items) {
  pickle_.items.push_back(std::move(items));
  push({kind, static_cast<int64_t>(pickle_.items.size() - 1), {}});
}

PickleId PickleMachine::top() const {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
    refuse(core::str("its stack is empty at byte ", position_));
  return stack_.back();
}

PickleId PickleMachine::pop() {
  const PickleId id = top();
  stack_.pop_back();
  return id;
}

std::vector<PickleId> PickleMachine::pop_to_mark() {
  if (marks_.empty()) refuse(core::str("a mark is missing at byte ", position_));
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleId> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

std::vector<PickleId>& PickleMachine::items_on_top(PickleKind kind) {
  const PickleValue& value = pickle_.at(top());
  if (value.kind != kind)
    refuse(core::str("items are added to what cannot hold them at byte ", position_));
  return pickle_.items[static_cast<size_t>(value.number)];
}

bool PickleMachine::step() {
  const auto code = static_cast<uint8_t>(take_unsigned(1));
  if (code == opcode::kStop) {
    if (stack_.size() != 1 || !marks_.empty()) refuse("it does not end with one value");
    if (position_ != text_.size()) refuse("bytes follow its end");
    pickle_.root = stack_.back();
    return false;
  }
  if (code == opcode::kProto) {
    const uint64_t version = take_unsigned(1);
    if (version < 2 || version > kMaxProtocol)
      refuse(core::str("it has protocol ", version, ", expected 2 to ", int{kMaxProtocol}));
    return true;
  }
  if (code == opcode::kFrame) {
    const uint64_t size = take_unsigned(8);
    if (size > text_.size() - position_) refuse("a frame is longer than the pickle");
    return true;
  }
  if (step_container(code) || step_number(code) || step_text(code) || step_memo(code) ||
      step_object(code)) {
    return true;
  }
  const std::string shown =
      code > 0x20 && code < 0x7f ? core::str(" ('", static_cast<char>(code), "')") : "";
  refuse(core::str("opcode ", int{code}, shown, " at byte ", position_ - 1,
                   " does not belong into a checkpoint"));
}

bool PickleMachine::step_container(uint8_t code) {
  switch (code) {
    case opcode::kMark:
      if (marks_.size() >= kMaxMarks) refuse(core::str("it is nested over ", kMaxMarks, " deep"));
      marks_.push_back(stack_.size());
      return true;
    case opcode::kPop:
      pop();
      return true;
    case opcode::kPopMark:
      pop_to_mark();
      return true;
    case opcode::kEmptyTuple:
      push_container(PickleKind::kTuple, {});
      return true;
    case opcode::kEmptyList:
      push_container(PickleKind::kList, {});
      return true;
    case opcode::kEmptyDict:
      push_container(PickleKind::kDict, {});
      return true;
    case opcode::kTuple:
      push_container(PickleKind::kTuple, pop_to_mark());
      return true;
    case opcode::kTuple1:
    case opcode::kTuple2:
    case opcode::kTuple3:
      push_tuple(size_t{code} - opcode::kTuple1 + 1);
      return true;
    case opcode::kAppend: {
      const PickleId item = pop();
      items_on_top(PickleKind::kList).push_back(item);
      return true;
    }
    case opcode::kAppends: {
      const std::vector<PickleId> items = pop_to_mark();
      std::vector<PickleId>& list = items_on_top(PickleKind::kList);
      list.insert(list.end(), items.begin(), items.end());
      return true;
    }
    case opcode::kSetItem: {
      const PickleId value = pop();
      const PickleId key = pop();
      add_items({key, value});
      return true;
    }
    case opcode::kSetItems:
      add_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

void PickleMachine::push_tuple(size_t size) {
  std::vector<PickleId> items(size);
  for (size_t i = size; i-- > 0;) items[i] = pop();
  push_container(PickleKind::kTuple, std::move(items));
}

void PickleMachine::add_items(const std::vector<PickleId>& items) {
  if (items.size() % 2 != 0) refuse(core::str("a key has no value at byte ", position_));
  std::vector<PickleId>& dict = items_on_top(PickleKind::kDict);
  dict.insert(dict.end(), items.begin(), items.end());
}

bool PickleMachine::step_number(uint8_t code) {
  switch (code) {
    case opcode::kNone:
      push({PickleKind::kNone, 0, {}});
      return true;
    case opcode::kNewTrue:
    case opcode::kNewFalse:
      push({PickleKind::kBool, code == opcode::kNewTrue ? 1 : 0, {}});
      return true;
    case opcode::kBinInt:
      push({PickleKind::kInt, static_cast<int32_t>(take_unsigned(4)), {}});
      return true;
    case opcode::kBinInt1:
      push({PickleKind::kInt, static_cast<int64_t>(take_unsigned(1)), {}});
      return true;
    case opcode::kBinInt2:
      push({PickleKind::kInt, static_cast<int64_t>(take_unsigned(2)), {}});
      return true;
    case opcode::kBinFloat:
      take(8);
      push({PickleKind::kOther, 0, {}});
      return true;
    case opcode::kLong1: {
      const uint64_t size = take_unsigned(1);
      if (size > 8) {
        take(size);
        push({PickleKind::kOther, 0, {}});
        return true;
      }
      const auto shift = static_cast<int>(64 - 8 * size);
      const uint64_t raw = take_unsigned(static_cast<size_t>(size));
      const int64_t value = size == 0 ? 0 : static_cast<int64_t>(raw << shift) >> shift;
      push({PickleKind::kInt, value, {}});
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::step_text(uint8_t code) {
  const bool is_text = code == opcode::kBinUnicode || code == opcode::kShortBinUnicode ||
                       code == opcode::kBinUnicode8 || code == opcode::kBinString ||
                       code == opcode::kShortBinString;
  const bool is_bytes =
      code == opcode::kBinBytes || code == opcode::kShortBinBytes || code == opcode::kBinBytes8;
  if (!is_text && !is_bytes) return false;
  const bool is_short = code == opcode::kShortBinUnicode || code == opcode::kShortBinString ||
                        code == opcode::kShortBinBytes;
  const bool is_long = code == opcode::kBinUnicode8 || code == opcode::kBinBytes8;
  const std::string_view bytes = take(take_unsigned(is_short ? 1 : is_long ? 8 : 4));
  push({is_text ? PickleKind::kText : PickleKind::kOther, 0, bytes});
  return true;
}

void PickleMachine::put(uint64_t index) { memo_[index] = top(); }

void PickleMachine::get(uint64_t index) {
  const auto found = memo_.find(index);
  if (found == memo_.end()) refuse(core::str("memo ", index, " was never set"));
  push_id(found->second);
}

bool PickleMachine::step_memo(uint8_t code) {
  switch (code) {
    case opcode::kBinPut:
      put(take_unsigned(1));
      return true;
    case opcode::kLongBinPut:
      put(take_unsigned(4));
      return true;
    case opcode::kMemoize:
      put(memo_.size());
      return true;
    case opcode::kBinGet:
      get(take_unsigned(1));
      return true;
    case opcode::kLongBinGet:
      get(take_unsigned(4));
      return true;
    default:
      return false;
  }
}

Pickle read_pickle(std::string_view text, const std::string& name, ErrorKind kind) {
  return PickleMachine(text, name, kind).run();
}

}  // namespace t2v::weights
