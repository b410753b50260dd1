// Reads the one kind of pickle that checkpoints are made of: dicts, lists, tuples, numbers, text
// and tensors. Nothing is executed and nothing is imported; any opcode or global outside a short
// list is an error that names it.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "t2v/error.h"

namespace t2v::weights {

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kText,
  kOther,  // floats, bytes and large numbers: of no use here, kept as a place
  kTuple,
  kList,
  kDict,
  kGlobal,
  kStorage,
  kTensor,
};

using PickleId = uint32_t;

// A storage of an archive, by the name of its member.
struct PickledStorage {
  std::string key;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  int64_t num_elements = 0;
};

struct PickledTensor {
  uint32_t storage = 0;  // index
  int64_t offset = 0;    // elements
  std::vector<int64_t> shape;
  std::vector<int64_t> stride;
};

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  int64_t number = 0;     // kInt, kBool: the value; else an index into the lists of Pickle
  std::string_view text;  // kText, kGlobal ("module name"): in the pickle's own bytes or words
};

// All values of a pickle; containers hold ids, so cycles and shared values do no harm.
struct Pickle {
  std::deque<PickleValue> values;
  std::deque<std::vector<PickleId>> items;  // of tuples, lists and dicts (key, value, key, ...)
  std::deque<std::string> words;            // texts made while reading
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;
  PickleId root = 0;

  [[nodiscard]] const PickleValue& at(PickleId id) const { return values[id]; }
  [[nodiscard]] const std::vector<PickleId>& items_of(const PickleValue& value) const {
    return items[static_cast<size_t>(value.number)];
  }
};

// text must outlive the result. name: of the file, for messages. Throws Error{kind}.
Pickle read_pickle(std::string_view text, const std::string& name, ErrorKind kind);

}  // namespace t2v::weights
