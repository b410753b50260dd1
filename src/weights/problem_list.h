// Problems of one kind: all are counted, the first few are kept for the message.
#pragma once

#include <string>
#include <vector>

#include "core/check.h"

namespace t2v::weights {

class ProblemList {
 public:
  static constexpr size_t kMaxListed = 10;

  template <typename... Parts>
  void add(const Parts&... parts) {
    if (count_++ < kMaxListed) listed_.push_back(core::str(parts...));
  }
  [[nodiscard]] size_t count() const noexcept { return count_; }
  [[nodiscard]] const std::vector<std::string>& listed() const noexcept { return listed_; }

  // "12 tensors do not fit: a; b; and 2 more"; one alone stands for itself. headline: what follows
  // the count.
  [[nodiscard]] std::string text(const std::string& headline) const {
    if (count_ == 1) return listed_[0];
    std::string all = core::str(count_, " ", headline, ": ");
    for (size_t i = 0; i < listed_.size(); ++i) all += (i > 0 ? "; " : "") + listed_[i];
    return count_ > listed_.size() ? core::str(all, "; and ", count_ - listed_.size(), " more")
                                   : all;
  }

 private:
  size_t count_ = 0;
  std::vector<std::string> listed_;
};

}  // namespace t2v::weights
