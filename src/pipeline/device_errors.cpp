#include "pipeline/device_errors.h"

#include <algorithm>
#include <string>

#include "core/check.h"
#include "pipeline/residency.h"

namespace t2v::pipeline {
namespace {

constexpr const char* kHostAllocator = "DefaultCPUAllocator";  // not enough, can't allocate memory

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// "2.00 GiB" of LibTorch's "... Tried to allocate 2.00 GiB. GPU 0 has ..."; "" when it is not told.
std::string needed_of(const std::string& what) {
  constexpr std::string_view kBefore = "Tried to allocate ";
  const size_t begin = what.find(kBefore);
  if (begin == std::string::npos) return "";
  const size_t from = begin + kBefore.size();
  const size_t end = what.find(". ", from);
  const std::string amount = what.substr(from, end == std::string::npos ? end : end - from);
  return amount.size() <= 20 ? amount : "";
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.substr(0, 500);
}

// "8388608 bytes more were needed" of LibTorch's "... you tried to allocate 8388608 bytes. ...".
std::string host_needs(const std::string& what) {
  constexpr std::string_view kBefore = "you tried to allocate ";
  const size_t begin = what.find(kBefore);
  if (begin == std::string::npos) return one_line(what);
  const size_t from = begin + kBefore.size();
  const size_t end = what.find_first_not_of("0123456789", from);
  return what.substr(from, end == std::string::npos ? end : end - from) + " bytes more were needed";
}

Error out_of_memory(const std::string& what, const std::optional<DeviceRoom>& room) {
  if (!room || contains(what, kHostAllocator))
    return {ErrorKind::kOutOfMemory,
            core::str("out of host memory: ", host_needs(what),
                      "; try a smaller --ram-budget, a smaller --size or fewer --frames")};
  const std::string needed = needed_of(what);
  return {ErrorKind::kOutOfMemory,
          core::str("out of device memory: ", needed.empty() ? "more" : needed + " more",
                    " were needed, the device has ", gigabytes(room->free_bytes),
                    " free, this run ", "may use ", gigabytes(room->allowed_bytes),
                    " (--vram-budget); try --offload block, --vae-tiling on, a smaller --size or "
                    "fewer --frames")};
}

}  // namespace

Error from_torch_error(const c10::Error& error, const std::optional<DeviceRoom>& room) {
  const std::string what = error.what_without_backtrace();
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
      contains(what, kHostAllocator) || contains(what, "out of memory") ||
      contains(what,
               "unable to find an engine to execute this computation") ||  // cuDNN, no workspace
      contains(what, "CUBLAS_STATUS_ALLOC_FAILED") ||
      contains(what, "CUDNN_STATUS_ALLOC_FAILED"))
    return out_of_memory(what, room);
  if (dynamic_cast<const c10::AcceleratorError*>(&error) != nullptr ||
      contains(what, "CUDA error") || contains(what, "CUBLAS_STATUS") ||
      contains(what, "CUDNN_STATUS"))
    return {ErrorKind::kDevice,
            core::str("the CUDA device failed: ", one_line(what),
                      "; start t2v again, and try --attention reference or --device cpu")};
  return {ErrorKind::kInternal,
          core::str("LibTorch: ", one_line(what), "; this is a bug in t2v, please report it")};
}

}  // namespace t2v::pipeline
