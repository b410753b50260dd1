#include "weights/torch_archive.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/escape.h"
#include "weights/pickle_reader.h"
#include "weights/wrappers.h"
#include "weights/zip_directory.h"

namespace t2v::weights {
namespace {

constexpr int64_t kMaxPickleBytes = int64_t{32} << 20;
constexpr int64_t kMaxWordBytes = 64;  // of the member `byteorder`
constexpr int kMaxNesting = 4;         // of dicts around the state dict
constexpr size_t kMaxNameBytes = 1024;
constexpr size_t kMaxChecked = 8;
constexpr std::string_view kPickleName = "/data.pkl";
constexpr const char* kBareTensorName = "latents";
constexpr std::array<std::string_view, 5> kPreferred{"generator_ema", "generator", "model",
                                                     "state_dict", "module"};

std::string named(std::string_view name) {
  return core::str("tensor '", core::escape_control(name, 200), "'");
}

// Row-major strides; extents of one element may have any.
bool is_contiguous(const PickledTensor& tensor) noexcept {
  int64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.stride[i] != expected) return false;
    expected *= tensor.shape[i];  // num_elements() has checked the product
  }
  return true;
}

std::string list(const std::vector<int64_t>& numbers) {
  std::string text = "[";
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(numbers[i]);
  }
  return text + "]";
}

class Archive {
 public:
  explicit Archive(const ByteSource& source)
      : source_(source), members_(read_zip_directory(source)), root_(find_root()) {}

  ContainerHeader read();

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(source_.error_kind(),
                core::str("broken torch archive: ", why, " (", source_.name(), ")"));
  }
  [[nodiscard]] std::string find_root() const;
  [[nodiscard]] const ZipMember* find(const std::string& name) const noexcept;
  [[nodiscard]] std::string read_member(const ZipMember& member, int64_t max_bytes) const;
  void check_byte_order() const;
  // wrapper: `generator` or `generator_ema` when that stands around it, else untouched.
  [[nodiscard]] std::span<const PickleId> choose_dict(const Pickle& pickle,
                                                      std::string& wrapper) const;
  [[nodiscard]] TensorEntry place(const Pickle& pickle, const PickledTensor& tensor,
                                  std::string name);

  const ByteSource& source_;
  std::vector<ZipMember> members_;
  std::string root_;               // the folder of all members
  std::set<std::string> checked_;  // storages whose local headers were compared
};

std::string Archive::find_root() const {
  std::string root;
  for (const ZipMember& member : members_) {
    const size_t slash = member.name.find('/');
    if (slash == std::string::npos || member.name.substr(slash) != kPickleName) continue;
    if (!root.empty()) refuse("it holds two pickles");
    root = member.name.substr(0, slash);
  }
  if (root.empty()) refuse("it holds no 'data.pkl'; is this a file of torch.save?");
  return root;
}

const ZipMember* Archive::find(const std::string& name) const noexcept {
  const auto place = std::lower_bound(
      members_.begin(), members_.end(), name,
      [](const ZipMember& member, const std::string& key) { return member.name < key; });
  return place != members_.end() && place->name == name ? &*place : nullptr;
}

std::string Archive::read_member(const ZipMember& member, int64_t max_bytes) const {
  if (member.bytes > max_bytes) {
    refuse(core::str("member '", core::escape_control(member.name, 200), "' has ", member.bytes,
                     " bytes, at most ", max_bytes, " are allowed"));
  }
  std::string content(static_cast<size_t>(member.bytes), '\0');
  check_zip_member(source_, member);
  source_.read(member.payload, std::as_writable_bytes(std::span(content)));
  if (zip_crc32(content) != member.crc32) {
    refuse(core::str("member '", core::escape_control(member.name, 200),
                     "' does not have its checksum"));
  }
  return content;
}

void Archive::check_byte_order() const {
  const ZipMember* member = find(root_ + "/byteorder");
  if (member == nullptr) return;
  const std::string order = read_member(*member, kMaxWordBytes);
  if (order != "little") {
    refuse(
        core::str("its byte order is '", core::escape_control(order, 80), "', expected 'little'"));
  }
}

// Keys and values of the state dict.
std::span<const PickleId> Archive::choose_dict(const Pickle& pickle, std::string& wrapper) const {
  const PickleValue* dict = &pickle.at(pickle.root);
  if (dict->kind != PickleKind::kDict) refuse("it holds neither a dict nor a tensor");
  for (int depth = 0; depth < kMaxNesting; ++depth) {
    const std::span<const PickleId> items = pickle.items_of(*dict);
    const PickleValue* inner = nullptr;
    std::string_view name;
    size_t best = kPreferred.size();
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      const PickleValue& key = pickle.at(items[i]);
      const PickleValue& value = pickle.at(items[i + 1]);
      if (key.kind != PickleKind::kText || value.kind != PickleKind::kDict) continue;
      const auto rank = static_cast<size_t>(
          std::find(kPreferred.begin(), kPreferred.end(), key.text) - kPreferred.begin());
      if (rank < best) {
        best = rank;
        inner = &value;
        name = key.text;
      }
    }
    if (inner == nullptr) return items;
    if (name.starts_with("generator")) wrapper = name;
    dict = inner;
  }
  refuse(core::str("its dicts are nested over ", kMaxNesting, " deep"));
}

TensorEntry Archive::place(const Pickle& pickle, const PickledTensor& tensor, std::string name) {
  const PickledStorage& storage = pickle.storages[tensor.storage];
  TensorEntry entry;
  entry.name = std::move(name);
  entry.dtype = storage.dtype;
  entry.shape = tensor.shape;
  entry.bytes = num_bytes(entry);
  if (entry.bytes < 0) refuse(named(entry.name) + " has a shape that overflows");
  const ZipMember* member = find(core::str(root_, "/data/", storage.key));
  if (member == nullptr)
    refuse(core::str(named(entry.name), " lies in 'data/", storage.key, "', which is not there"));
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(entry.dtype));
  if (member->bytes % element_bytes != 0 || member->bytes / element_bytes != storage.num_elements) {
    refuse(core::str(named(entry.name), " lies in 'data/", storage.key, "' of ", member->bytes,
                     " bytes, expected ", storage.num_elements, " elements of ", element_bytes));
  }
  const int64_t elements = num_elements(entry.shape);
  if (tensor.offset > storage.num_elements || elements > storage.num_elements - tensor.offset) {
    refuse(core::str(named(entry.name), " has ", elements, " elements after ", tensor.offset,
                     ", its storage has ", storage.num_elements));
  }
  if (elements > 0 && !is_contiguous(tensor)) {
    refuse(core::str(named(entry.name), " is not contiguous (shape ", list(tensor.shape),
                     ", stride ", list(tensor.stride), "); save it with .contiguous()"));
  }
  // A few are looked at: each costs a read, and far stores have large ones.
  if (checked_.size() < kMaxChecked && checked_.insert(storage.key).second)
    check_zip_member(source_, *member);
  entry.offset = member->payload + tensor.offset * element_bytes;
  return entry;
}

ContainerHeader Archive::read() {
  check_byte_order();
  const std::string text = read_member(*find(root_ + std::string(kPickleName)), kMaxPickleBytes);
  const Pickle pickle = read_pickle(text, source_.name(), source_.error_kind());
  ContainerHeader header;
  const PickleValue& root = pickle.at(pickle.root);
  const auto tensor_of = [&](const PickleValue& value) -> const PickledTensor& {
    return pickle.tensors[static_cast<size_t>(value.number)];
  };
  if (root.kind == PickleKind::kTensor) {
    header.tensors.push_back(place(pickle, tensor_of(root), kBareTensorName));
    return header;
  }
  std::string wrapper;
  const std::span<const PickleId> items = choose_dict(pickle, wrapper);
  if (!wrapper.empty()) header.metadata[kWrapperKey] = wrapper;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    const PickleValue& key = pickle.at(items[i]);
    const PickleValue& value = pickle.at(items[i + 1]);
    if (value.kind != PickleKind::kTensor) continue;  // counters, settings
    if (key.kind != PickleKind::kText || key.text.empty() || key.text.size() > kMaxNameBytes)
      refuse(core::str("a tensor has no name, or one over ", kMaxNameBytes, " bytes"));
    if (has_control_bytes(key.text)) refuse(named(key.text) + " has control bytes in its name");
    header.tensors.push_back(place(pickle, tensor_of(value), std::string(key.text)));
  }
  if (header.tensors.empty()) refuse("it holds no tensors where a state dict should be");
  if (const std::string* twice = sort_by_name(header.tensors))
    refuse(named(*twice) + " is there twice");
  return header;
}

}  // namespace

ContainerHeader read_torch_archive(const ByteSource& source) { return Archive(source).read(); }

}  // namespace t2v::weights
