#include "weights/safetensors_writer.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>

#include "core/atomic_file.h"
#include "core/check.h"
#include "weights/safetensors.h"

namespace t2v::weights {
namespace {

constexpr int64_t kAlignment = 8;  // of the data, by padding the header with spaces

// Widest first keeps every tensor aligned to its element; the name makes the order total.
bool stored_before(const NamedTensor* a, const NamedTensor* b) {
  const size_t a_size = a->tensor.element_size();
  const size_t b_size = b->tensor.element_size();
  return a_size != b_size ? a_size > b_size : a->name < b->name;
}

}  // namespace

int64_t HeaderTensor::bytes() const noexcept {
  return std::accumulate(shape.begin(), shape.end(), static_cast<int64_t>(c10::elementSize(dtype)),
                         std::multiplies<>());
}

std::string safetensors_header(const std::vector<HeaderTensor>& tensors,
                               const std::map<std::string, std::string>& metadata,
                               int64_t alignment) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::unordered_set<std::string> names;
  int64_t offset = 0;
  for (const HeaderTensor& tensor : tensors) {
    const char* dtype = safetensors_dtype_name(tensor.dtype);
    T2V_ASSERT(dtype != nullptr);
    T2V_ASSERT(names.insert(tensor.name).second);
    const int64_t end = offset + tensor.bytes();
    header[tensor.name] = {
        {"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  constexpr size_t kLengthBytes = 8;
  std::string text(kLengthBytes, '\0');
  // Invalid UTF-8 in a metadata value is replaced: the file must stay readable.
  text += header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto step = static_cast<size_t>(alignment);
  text.append((step - text.size() % step) % step, ' ');
  const uint64_t length = text.size() - kLengthBytes;
  for (size_t i = 0; i < kLengthBytes; ++i) text[i] = static_cast<char>(length >> (8 * i));
  return text;
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const NamedTensor& named : tensors) order.push_back(&named);
  std::sort(order.begin(), order.end(), stored_before);

  std::vector<HeaderTensor> entries;
  entries.reserve(order.size());
  for (const NamedTensor* named : order)
    entries.push_back({named->name, named->tensor.scalar_type(), named->tensor.sizes().vec()});
  const std::string header = safetensors_header(entries, metadata, kAlignment);
  core::AtomicFile file(path);
  file.write(header.data(), header.size());
  for (const NamedTensor* named : order) {
    const at::Tensor plain = named->tensor.cpu().contiguous();
    if (plain.nbytes() > 0) file.write(plain.const_data_ptr(), plain.nbytes());
  }
  file.commit();
}

}  // namespace t2v::weights
