// What a pickle may name and build: storages, tensors, ordered dicts.
#include <algorithm>
#include <array>

#include "core/check.h"
#include "core/escape.h"
#include "weights/pickle_machine.h"
#include "weights/pickle_opcodes.h"

namespace t2v::weights {
namespace {

constexpr size_t kMaxRank = 16;
constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";

struct StorageClass {
  std::string_view name;
  c10::ScalarType dtype;
};

// Named, never called.
constexpr std::array<StorageClass, 9> kStorageClasses{{
    {"torch.FloatStorage", c10::ScalarType::Float},
    {"torch.BFloat16Storage", c10::ScalarType::BFloat16},
    {"torch.HalfStorage", c10::ScalarType::Half},
    {"torch.DoubleStorage", c10::ScalarType::Double},
    {"torch.CharStorage", c10::ScalarType::Char},
    {"torch.ByteStorage", c10::ScalarType::Byte},
    {"torch.IntStorage", c10::ScalarType::Int},
    {"torch.LongStorage", c10::ScalarType::Long},
    {"torch.BoolStorage", c10::ScalarType::Bool},
}};

const StorageClass* find_storage_class(std::string_view name) noexcept {
  const auto found = std::find_if(kStorageClasses.begin(), kStorageClasses.end(),
                                  [&](const StorageClass& known) { return known.name == name; });
  return found != kStorageClasses.end() ? &*found : nullptr;
}

}  // namespace

bool PickleMachine::step_object(uint8_t code) {
  switch (code) {
    case opcode::kGlobal: {
      const std::string_view module = take_line();
      push_global(module, take_line());
      return true;
    }
    case opcode::kStackGlobal: {
      const PickleValue name = pickle_.at(pop());
      const PickleValue module = pickle_.at(pop());
      if (name.kind != PickleKind::kText || module.kind != PickleKind::kText)
        refuse("the name of a global is not text");
      push_global(module.text, name.text);
      return true;
    }
    case opcode::kBinPersId:
      push_storage();
      return true;
    case opcode::kReduce:
      reduce();
      return true;
    case opcode::kBuild:
      build();
      return true;
    default:
      return false;
  }
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  const std::string full = core::str(module, ".", name);
  const StorageClass* storage = find_storage_class(full);
  const std::string_view known = full == kOrderedDict        ? kOrderedDict
                                 : full == kRebuildTensor    ? kRebuildTensor
                                 : full == kRebuildParameter ? kRebuildParameter
                                 : storage != nullptr        ? storage->name
                                                             : std::string_view();
  if (known.empty()) {
    refuse(core::str("it asks for '", core::escape_control(full, 200),
                     "', which is not allowed in a checkpoint; nothing was executed"));
  }
  push({PickleKind::kGlobal, 0, known});
}

std::span<const PickleId> PickleMachine::tuple(PickleId id, const char* what) const {
  const PickleValue& value = pickle_.at(id);
  if (value.kind != PickleKind::kTuple) refuse(core::str(what, " is not a tuple"));
  return pickle_.items_of(value);
}

int64_t PickleMachine::whole(PickleId id, const char* what) const {
  const PickleValue& value = pickle_.at(id);
  if (value.kind != PickleKind::kInt || value.number < 0)
    refuse(core::str(what, " is not a number from 0"));
  return value.number;
}

std::vector<int64_t> PickleMachine::wholes(PickleId id, const char* what) const {
  const std::span<const PickleId> items = tuple(id, what);
  if (items.size() > kMaxRank)
    refuse(core::str(what, " has ", items.size(), " dimensions, at most ", kMaxRank));
  std::vector<int64_t> numbers;
  for (const PickleId item : items) numbers.push_back(whole(item, what));
  return numbers;
}

// ("storage", class, key, location, number of elements)
void PickleMachine::push_storage() {
  const std::span<const PickleId> parts = tuple(pop(), "a persistent id");
  if (parts.size() != 5) refuse(core::str("a storage has ", parts.size(), " parts, expected 5"));
  const PickleValue& tag = pickle_.at(parts[0]);
  const PickleValue& type = pickle_.at(parts[1]);
  const PickleValue& key = pickle_.at(parts[2]);
  const StorageClass* storage =
      type.kind == PickleKind::kGlobal ? find_storage_class(type.text) : nullptr;
  if (tag.kind != PickleKind::kText || tag.text != "storage" || storage == nullptr ||
      key.kind != PickleKind::kText || pickle_.at(parts[3]).kind != PickleKind::kText) {
    refuse("a persistent id is not that of a storage");
  }
  const bool plain_key = !key.text.empty() && key.text.size() <= 64 &&
                         std::all_of(key.text.begin(), key.text.end(), [](char c) {
                           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                                  (c >= 'A' && c <= 'Z') || c == '_';
                         });
  if (!plain_key) {
    refuse(core::str("a storage has the key '", core::escape_control(key.text, 80),
                     "', expected letters and digits"));
  }
  const int64_t num_elements = whole(parts[4], "the size of a storage");
  pickle_.storages.push_back({std::string(key.text), storage->dtype, num_elements});
  push({PickleKind::kStorage, static_cast<int64_t>(pickle_.storages.size() - 1), {}});
}

// (storage, offset, size, stride, requires_grad, hooks[, metadata])
PickleValue PickleMachine::rebuilt_tensor(std::span<const PickleId> arguments) {
  if (arguments.size() < 6 || arguments.size() > 7)
    refuse(core::str("a tensor is made of ", arguments.size(), " parts, expected 6"));
  const PickleValue& storage = pickle_.at(arguments[0]);
  if (storage.kind != PickleKind::kStorage) refuse("a tensor is made of no storage");
  PickledTensor tensor;
  tensor.storage = static_cast<uint32_t>(storage.number);
  tensor.offset = whole(arguments[1], "the offset of a tensor");
  tensor.shape = wholes(arguments[2], "the shape of a tensor");
  tensor.stride = wholes(arguments[3], "the stride of a tensor");
  if (tensor.shape.size() != tensor.stride.size())
    refuse("the shape and the stride of a tensor differ in length");
  pickle_.tensors.push_back(std::move(tensor));
  return {PickleKind::kTensor, static_cast<int64_t>(pickle_.tensors.size() - 1), {}};
}

void PickleMachine::reduce() {
  const std::span<const PickleId> arguments = tuple(pop(), "what is called with");
  const PickleValue called = pickle_.at(pop());
  if (called.kind != PickleKind::kGlobal) refuse("it calls what is no function");
  if (called.text == kOrderedDict) {
    if (!arguments.empty()) refuse("an OrderedDict is made of something");
    push_container(PickleKind::kDict, {});
  } else if (called.text == kRebuildTensor) {
    push(rebuilt_tensor(arguments));
  } else if (called.text == kRebuildParameter) {
    if (arguments.size() != 3 || pickle_.at(arguments[0]).kind != PickleKind::kTensor)
      refuse("a parameter is not made of a tensor");
    push_id(arguments[0]);
  } else {
    refuse(core::str("it calls '", called.text, "'"));
  }
}

// The attributes of an OrderedDict (`_metadata`) are of no use.
void PickleMachine::build() {
  const PickleValue state = pickle_.at(pop());
  const PickleValue& object = pickle_.at(top());
  if (object.kind != PickleKind::kDict || state.kind != PickleKind::kDict)
    refuse(core::str("a state is set on what has none at byte ", position_));
}

}  // namespace t2v::weights
