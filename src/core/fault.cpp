#include "core/fault.h"

#ifdef T2V_FAULTS
#include <map>
#include <mutex>
#include <string>

#include "core/check.h"

namespace t2v::core {
namespace {

std::mutex mutex;
std::map<std::string, int, std::less<>>& armed() {
  static std::map<std::string, int, std::less<>> points;
  return points;
}

ErrorKind kind_of(std::string_view name) {
  if (name.starts_with("sink.")) return ErrorKind::kOutput;
  if (name.starts_with("device.")) return ErrorKind::kOutOfMemory;
  if (name.starts_with("step.")) return ErrorKind::kCancelled;
  return ErrorKind::kModel;
}

}  // namespace

void arm_fault(std::string_view name, int nth) {
  const std::lock_guard lock(mutex);
  armed()[std::string(name)] = nth;
}

void fault_point(std::string_view name) {
  const std::lock_guard lock(mutex);
  const auto found = armed().find(name);
  if (found == armed().end() || found->second == 0) return;
  if (--found->second == 0) throw Error(kind_of(name), str("injected fault (", name, ")"));
}

}  // namespace t2v::core
#endif
