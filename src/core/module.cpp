#include "core/module.h"

#include <dlfcn.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <vector>

#include "core/check.h"

namespace t2v::core {
namespace fs = std::filesystem;
namespace {

std::mutex shutdown_mutex;
std::vector<bool (*)() noexcept>& shutdown_functions() {
  static std::vector<bool (*)() noexcept> functions;
  return functions;
}

// LibTorch's libraries and what they set up map this much before any weight is read. Where it is
// not to be had they end the process, and nobody can catch that.
constexpr rlim_t kLibraryBytes = rlim_t{720} << 20;

void require_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  T2V_REQUIRE(limit.rlim_cur >= kLibraryBytes, ErrorKind::kOutOfMemory,
              "not enough memory: this process may map ", limit.rlim_cur >> 20,
              " MiB, and t2v needs ", kLibraryBytes >> 20,
              " MiB before any weight is read (ulimit -v); try ulimit -v unlimited, and "
              "--ram-budget to bound t2v's memory");
}

}  // namespace

std::string own_folder() {
  Dl_info found{};
  if (::dladdr(reinterpret_cast<const void*>(&own_folder), &found) == 0 || !found.dli_fname)
    return ".";
  std::error_code ignored;
  const fs::path self = fs::canonical(found.dli_fname, ignored);
  return self.empty() ? "." : self.parent_path().string();
}

void* load_module(const std::string& name, const std::string& symbol) {
  require_address_space();
  const std::string path = own_folder() + "/lib" + name + ".so";
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* reason = ::dlerror();
    throw Error(ErrorKind::kInternal,
                str("cannot load a part of t2v: ", reason ? reason : "unknown reason", " (", path,
                    "); try installing t2v again"));
  }
  void* address = ::dlsym(handle, symbol.c_str());
  T2V_REQUIRE(address != nullptr, ErrorKind::kInternal, "part of t2v lacks '", symbol, "' (", path,
              "); try installing t2v again");
  return address;
}

void on_shutdown(bool (*done)() noexcept) {
  const std::lock_guard lock(shutdown_mutex);
  auto& functions = shutdown_functions();
  if (std::find(functions.begin(), functions.end(), done) == functions.end())
    functions.push_back(done);
}

bool shut_down() noexcept {
  const std::lock_guard lock(shutdown_mutex);
  bool clean = true;
  for (auto& functions = shutdown_functions(); !functions.empty(); functions.pop_back())
    clean = functions.back()() && clean;
  return clean;
}

}  // namespace t2v::core
