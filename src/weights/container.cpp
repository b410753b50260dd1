#include "weights/container.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "core/check.h"
#include "weights/gguf.h"
#include "weights/safetensors.h"
#include "weights/torch_archive.h"
#include "weights/wrappers.h"

namespace t2v::weights {
namespace {

constexpr size_t kStartBytes = 16;
constexpr std::string_view kLegacyTorch("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
                                        14);

std::string read_start(const ByteSource& source) {
  std::string start(static_cast<size_t>(std::min<int64_t>(source.size(), kStartBytes)), '\0');
  source.read(0, std::as_writable_bytes(std::span(start)));
  return start;
}

// Text: a safetensors file has at least two NUL bytes in the length of its header.
bool is_text(std::string_view start) noexcept { return start.find('\0') == std::string_view::npos; }

bool is_pickle(std::string_view start) noexcept {
  return start.size() > 2 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5 &&
         start[2] != '\0';
}

// What a file that is no container at all is; nullptr: unknown. For messages.
const char* other_kind(std::string_view start) noexcept {
  if (start == kLegacyTorch || start.starts_with(kLegacyTorch)) {
    return "a torch file of before 1.6, which is not read; save it again with a newer torch.save, "
           "or "
           "as safetensors";
  }
  if (is_pickle(start)) return "a bare pickle, which is not read: pickles can run programs";
  if (start.starts_with("version "))
    return "a Git LFS pointer, not the weights; try `git lfs pull`";
  if (start.starts_with("<!DOCTY") || start.starts_with("<html"))
    return "a web page; try to download it again";
  return nullptr;
}

ContainerKind kind_of_start(std::string_view start) noexcept {
  if (start.starts_with("GGUF")) return ContainerKind::kGguf;
  if (start.starts_with("PK\x03\x04") || start.starts_with("PK\x05\x06"))
    return ContainerKind::kTorchArchive;
  if (other_kind(start) != nullptr) return ContainerKind::kUnknown;
  if (start.starts_with('{') && start.size() >= 8 && is_text(start.substr(0, 8)))
    return ContainerKind::kIndex;
  return ContainerKind::kSafetensors;
}

}  // namespace

ContainerKind container_kind(const ByteSource& source) { return kind_of_start(read_start(source)); }

namespace {

ContainerHeader read_header(const ByteSource& source) {
  const std::string start = read_start(source);
  switch (kind_of_start(start)) {
    case ContainerKind::kGguf:
      return read_gguf_header(source);
    case ContainerKind::kTorchArchive:
      return read_torch_archive(source);
    case ContainerKind::kUnknown:
      throw Error(source.error_kind(), core::str("not a file of weights: it is ", other_kind(start),
                                                 " (", source.name(), ")"));
    case ContainerKind::kIndex:
    case ContainerKind::kSafetensors:
      break;
  }
  return read_safetensors_header(source);
}

}  // namespace

ContainerHeader read_container(const ByteSource& source) {
  ContainerHeader header = read_header(source);
  unwrap(header);
  return header;
}

}  // namespace t2v::weights
