#include "media/c2pa_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <mutex>

#include "core/check.h"
#include "core/escape.h"
#include "core/module.h"

namespace t2v::media {
namespace {

constexpr const char* kName = "libc2pa_c.so";

void* load(const std::string& path) {
  if (!path.empty()) return ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const std::filesystem::path beside = std::filesystem::path(core::own_folder()) / kName;
  if (void* handle = ::dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  return ::dlopen(kName, RTLD_NOW | RTLD_LOCAL);
}

template <typename Function>
bool look_up(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(handle, name));
  return function != nullptr;
}

C2paLibrary functions_of(void* handle) {
  C2paLibrary library{};
  const bool whole = look_up(handle, "c2pa_error", library.error) &&
                     look_up(handle, "c2pa_string_free", library.string_free) &&
                     look_up(handle, "c2pa_create_stream", library.create_stream) &&
                     look_up(handle, "c2pa_release_stream", library.release_stream) &&
                     look_up(handle, "c2pa_signer_from_info", library.signer_from_info) &&
                     look_up(handle, "c2pa_signer_free", library.signer_free) &&
                     look_up(handle, "c2pa_builder_from_json", library.builder_from_json) &&
                     look_up(handle, "c2pa_builder_free", library.builder_free) &&
                     look_up(handle, "c2pa_builder_sign", library.builder_sign) &&
                     look_up(handle, "c2pa_manifest_bytes_free", library.manifest_bytes_free);
  T2V_REQUIRE(whole, ErrorKind::kUsage, "cannot sign: ", kName,
              " lacks functions that t2v calls (--c2pa-cert); try the one of c2pa-python 0.38");
  return library;
}

}  // namespace

const C2paLibrary& open_c2pa_library(const std::string& path) {
  static std::mutex mutex;
  static C2paLibrary library{};
  static bool loaded = false;
  const std::lock_guard lock(mutex);
  if (loaded) return library;
  void* handle = load(path);
  if (!handle) {
    const char* reason = ::dlerror();
    throw Error(ErrorKind::kUsage,
                core::str("cannot sign: the C2PA library is not there: ",
                          core::escape_control(reason ? reason : "no reason given"),
                          " (--c2pa-cert, T2V_C2PA_LIB); try pip install c2pa-python and "
                          "T2V_C2PA_LIB=.../site-packages/c2pa/libs/",
                          kName));
  }
  library = functions_of(handle);
  loaded = true;
  return library;
}

}  // namespace t2v::media
