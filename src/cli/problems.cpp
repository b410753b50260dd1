#include "cli/problems.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::cli {
namespace {

constexpr size_t kMaxQuotedBytes = 80;
constexpr size_t kMaxProblemsShown = 8;
constexpr size_t kMaxProblemsKept = 1000;  // each new one is compared with them

}  // namespace

void Problems::add(std::string problem) {
  if (problems_.size() >= kMaxProblemsKept) {
    ++num_others_;
    return;
  }
  if (std::find(problems_.begin(), problems_.end(), problem) != problems_.end()) return;
  problems_.push_back(std::move(problem));
}

void Problems::add_all(const Problems& others) {
  for (const std::string& problem : others.problems_) add(problem);
  num_others_ += others.num_others_;
}

void Problems::throw_if_any(ErrorKind kind) const {
  if (problems_.empty()) return;
  std::string message;
  for (size_t i = 0; i < problems_.size() && i < kMaxProblemsShown; ++i) {
    if (i > 0) message += "; also: ";
    message += problems_[i];
  }
  if (problems_.size() > kMaxProblemsShown) {
    message +=
        "; and " + std::to_string(problems_.size() - kMaxProblemsShown + num_others_) + " more";
  }
  throw Error(kind, message);
}

std::string quoted(const std::string& text) {
  return core::str("'", core::escape_control(text, kMaxQuotedBytes), "'");
}

}  // namespace t2v::cli
