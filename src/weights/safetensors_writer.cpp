#include "weights/safetensors_writer.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/check.h"
#include "weights/safetensors.h"

namespace t2v::weights {
namespace {

constexpr size_t kAlignment = 8;  // of the data, by padding the header with spaces

// Widest first keeps every tensor aligned to its element; the name makes the order total.
bool stored_before(const NamedTensor* a, const NamedTensor* b) {
  const size_t a_size = a->tensor.element_size();
  const size_t b_size = b->tensor.element_size();
  return a_size != b_size ? a_size > b_size : a->name < b->name;
}

std::string header_text(const std::vector<const NamedTensor*>& order,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const NamedTensor* named : order) {
    const char* dtype = safetensors_dtype_name(named->tensor.scalar_type());
    T2V_ASSERT(dtype != nullptr);
    T2V_ASSERT(!header.contains(named->name));
    const int64_t end = offset + static_cast<int64_t>(named->tensor.nbytes());
    header[named->name] = {
        {"dtype", dtype}, {"shape", named->tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  // Invalid UTF-8 in a metadata value is replaced: the file must stay readable.
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedTensor*> order;
  order.reserve(tensors.size());
  for (const NamedTensor& named : tensors) order.push_back(&named);
  std::sort(order.begin(), order.end(), stored_before);

  const std::string header = header_text(order, metadata);
  std::array<unsigned char, 8> length{};
  for (size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<unsigned char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  }
  core::AtomicFile file(path);
  file.write(length.data(), length.size());
  file.write(header.data(), header.size());
  for (const NamedTensor* named : order) {
    const at::Tensor plain = named->tensor.cpu().contiguous();
    if (plain.nbytes() > 0) file.write(plain.const_data_ptr(), plain.nbytes());
  }
  file.commit();
}

}  // namespace t2v::weights
