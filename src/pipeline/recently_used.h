// A store bounded in bytes and in number: what has not been used for longest goes first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <utility>

namespace t2v::pipeline {

// Used by one thread.
template <typename Value>
class RecentlyUsed {
 public:
  RecentlyUsed(int64_t max_bytes, size_t max_items)
      : max_bytes_(max_bytes), max_items_(max_items) {}

  // Null when it is not there. Valid until the next insert() or set_limit().
  [[nodiscard]] const Value* find(const std::string& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    items_.splice(items_.begin(), items_, found->second);
    return &found->second->value;
  }
  // Replaces what the key had. A value larger than the limit is not kept.
  void insert(const std::string& key, Value value, int64_t bytes) {
    erase(key);
    if (bytes > max_bytes_) return;
    items_.push_front({key, std::move(value), bytes});
    index_[key] = items_.begin();
    bytes_ += bytes;
    shrink();
  }
  void set_limit(int64_t max_bytes) {
    max_bytes_ = max_bytes;
    shrink();
  }
  void clear() {
    items_.clear();
    index_.clear();
    bytes_ = 0;
  }
  [[nodiscard]] int64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] size_t size() const noexcept { return items_.size(); }

 private:
  struct Item {
    std::string key;
    Value value;
    int64_t bytes = 0;
  };
  void erase(const std::string& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    bytes_ -= found->second->bytes;
    items_.erase(found->second);
    index_.erase(found);
  }
  void shrink() {
    while (bytes_ > max_bytes_ || items_.size() > max_items_) erase(std::string(items_.back().key));
  }

  int64_t max_bytes_;
  size_t max_items_;
  int64_t bytes_ = 0;
  std::list<Item> items_;  // the last used first
  std::map<std::string, typename std::list<Item>::iterator> index_;
};

}  // namespace t2v::pipeline
