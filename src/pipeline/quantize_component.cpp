#include "pipeline/quantize_component.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "core/check.h"
#include "core/escape.h"
#include "pipeline/quantize_writer.h"
#include "weights/byte_hash.h"
#include "weights/partial_file.h"
#include "weights/quantise_rows.h"
#include "weights/row_reader.h"
#include "weights/sha256.h"

namespace t2v::pipeline {
namespace {

using weights::RowSlab;
using weights::StoredTensor;
using weights::WeightMap;

constexpr double kNoNoiseDb = 999;
constexpr size_t kTypeAlignment = 8;

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

bool is_plain(const WeightMap::Storage& storage) {
  return storage.scheme == nullptr && storage.entry->encoding == weights::Encoding::kPlain;
}

// The tensor whose rows are passing by.
struct Current {
  const PlannedTensor* plan = nullptr;
  WeightMap::Storage source{};
  at::Tensor scale;  // of the source
  at::Tensor delta;  // of LoRAs, fp32
  weights::ByteHash hash;
  TensorRecord record;
};

class ComponentQuantiser {
 public:
  ComponentQuantiser(const ComponentJob& job, QuantizeJournal& journal)
      : job_(job), journal_(journal) {
    for (const PlannedTensor& tensor : job.plan.tensors) by_name_[tensor.name] = &tensor;
  }

  ComponentResult run();

 private:
  void write_file(const std::string& path);
  void check_source() const;
  void pass(weights::RowReader& reader, QuantizeWriter& writer);
  void begin(const RowSlab& slab);
  void add(const RowSlab& slab, const at::Tensor& bytes, QuantizeWriter& writer);
  void quantise(const RowSlab& slab, const at::Tensor& bytes, QuantizeWriter& writer);
  void keep(const RowSlab& slab, const at::Tensor& bytes, QuantizeWriter& writer);
  void add_errors(const std::vector<weights::RowError>& errors);
  void require_finite(const RowSlab& slab, const at::Tensor& rows) const;
  [[nodiscard]] at::Tensor expanded(const RowSlab& slab, const at::Tensor& bytes) const;
  [[nodiscard]] at::Tensor as_stored(const RowSlab& slab, const at::Tensor& bytes) const;
  [[nodiscard]] std::optional<TensorRecord> finished(const RowSlab& slab);
  [[nodiscard]] int64_t place_of(size_t index, int64_t row, int64_t rows) const;
  [[nodiscard]] std::string source_hash() const;
  [[nodiscard]] QuantizedLayer layer_of(const PlannedTensor& tensor) const;

  const ComponentJob& job_;
  QuantizeJournal& journal_;
  std::map<std::string, const PlannedTensor*> by_name_;
  std::unique_ptr<weights::PartialFile> file_;
  Current current_;
  ComponentResult result_;
};

ComponentResult ComponentQuantiser::run() {
  const ComponentPlan& plan = job_.plan;
  const std::string path = job_.folder + "/" + plan.file;
  const bool all_done =
      std::all_of(plan.tensors.begin(), plan.tensors.end(), [&](const PlannedTensor& tensor) {
        return journal_.find(plan.file, tensor.name) != nullptr;
      });
  struct stat status {};
  const bool is_there = ::lstat(path.c_str(), &status) == 0;
  // A run that was killed behind the last rename leaves nothing to do here.
  if (!(all_done && is_there)) write_file(path);
  for (const PlannedTensor& tensor : plan.tensors) {
    result_.file.bytes_before += source_bytes(job_.map, tensor.name);
    if (tensor.quantised) result_.layers.push_back(layer_of(tensor));
  }
  T2V_REQUIRE(::lstat(path.c_str(), &status) == 0, ErrorKind::kOutput,
              "cannot find the file that was just written (", path, ")");
  result_.file.component = plan.component;
  result_.file.path = plan.file;
  result_.file.source_sha256 = source_hash();
  result_.file.bytes_after = status.st_size;
  return std::move(result_);
}

void ComponentQuantiser::write_file(const std::string& path) {
  const ComponentPlan& plan = job_.plan;
  file_ = std::make_unique<weights::PartialFile>(path, plan.header, plan.metadata);
  if (!file_->is_continued()) journal_.forget(plan.file);
  check_source();
  std::vector<std::string> names;
  for (const PlannedTensor& tensor : plan.tensors)
    if (journal_.find(plan.file, tensor.name) == nullptr) names.push_back(tensor.name);
  weights::RowReader reader(job_.map, names);
  QuantizeWriter writer(*file_, journal_);
  pass(reader, writer);
  writer.finish();
  result_.bytes_written += writer.bytes_written();
  result_.read_seconds += static_cast<double>(reader.counts().stall_ns) * 1e-9;
  std::map<std::string, std::string> metadata = plan.metadata;
  metadata[kSourceHashKey] = source_hash();
  file_->commit(metadata);
  file_.reset();
}

// One finished tensor is read again: a file that was replaced under its old name and time is seen.
void ComponentQuantiser::check_source() const {
  const auto& tensors = job_.plan.tensors;
  const auto last = std::find_if(tensors.rbegin(), tensors.rend(), [&](const PlannedTensor& t) {
    return journal_.find(job_.plan.file, t.name) != nullptr;
  });
  if (last == tensors.rend()) return;
  weights::RowReader reader(job_.map, {last->name});
  weights::ByteHash hash;
  for (size_t i = 0; i < reader.num_turns(); ++i) {
    const auto turn = reader.next();
    for (const RowSlab* slab : turn.slabs) hash.add(bytes_of(turn.bytes_of(*slab)));
  }
  const auto source = job_.map.storage_of(last->name);
  if (source.scheme != nullptr && source.scheme->scale != nullptr)
    hash.add(bytes_of(job_.map.checkpoint().load(source.scheme->scale->name)));
  T2V_REQUIRE(hash.finish() == journal_.find(job_.plan.file, last->name)->source_hash,
              ErrorKind::kUsage, "-o: the files of MODEL have changed since this copy was begun: '",
              last->name, "' of ", job_.plan.component, " is another (", job_.folder,
              "); delete the folder to begin anew");
}

void ComponentQuantiser::pass(weights::RowReader& reader, QuantizeWriter& writer) {
  for (size_t i = 0; i < reader.num_turns(); ++i) {
    T2V_REQUIRE(!job_.cancel.cancelled(), ErrorKind::kCancelled,
                "interrupted; the same command goes on where it stopped");
    const auto turn = reader.next();
    int64_t bytes = 0;
    for (const RowSlab* slab : turn.slabs) {
      if (slab->is_first) begin(*slab);
      add(*slab, turn.bytes_of(*slab), writer);
      bytes += slab->entry.bytes;
    }
    result_.bytes_read += bytes;
    if (job_.on_bytes) job_.on_bytes(bytes);
  }
}

void ComponentQuantiser::begin(const RowSlab& slab) {
  current_ = {};
  current_.plan = by_name_.at(slab.name);
  current_.source = job_.map.storage_of(slab.name);
  current_.record = {.file = job_.plan.file, .tensor = slab.name};
  const auto* scheme = current_.source.scheme;
  if (scheme != nullptr && scheme->scale != nullptr)
    current_.scale = job_.map.checkpoint().load(scheme->scale->name);
  if (job_.loras != nullptr && job_.loras->contains(slab.name))
    current_.delta = job_.loras->delta(slab.name);
}

void ComponentQuantiser::add(const RowSlab& slab, const at::Tensor& bytes, QuantizeWriter& writer) {
  current_.hash.add(bytes_of(bytes));
  if (current_.plan->quantised) {
    quantise(slab, bytes, writer);
  } else {
    keep(slab, bytes, writer);
  }
}

// The record of a tensor whose last rows these are.
std::optional<TensorRecord> ComponentQuantiser::finished(const RowSlab& slab) {
  if (!slab.is_last) return std::nullopt;
  if (current_.scale.defined()) current_.hash.add(bytes_of(current_.scale));
  current_.record.source_hash = current_.hash.finish();
  return current_.record;
}

// Where row `row` of the file's tensor lies.
int64_t ComponentQuantiser::place_of(size_t index, int64_t row, int64_t rows) const {
  const int64_t bytes = job_.plan.header[index].bytes();
  return file_->offset_of(index) + (rows > 0 ? bytes / rows * row : 0);
}

// The rows as a tensor of their type; copied where the bytes do not lie as that needs.
at::Tensor ComponentQuantiser::as_stored(const RowSlab& slab, const at::Tensor& bytes) const {
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.const_data_ptr()) % kTypeAlignment == 0;
  const StoredTensor rows =
      job_.map.stored_rows(slab.name, slab.begin, slab.count, aligned ? bytes : bytes.clone(), {});
  return rows.payload;
}

at::Tensor ComponentQuantiser::expanded(const RowSlab& slab, const at::Tensor& bytes) const {
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.const_data_ptr()) % kTypeAlignment == 0;
  at::Tensor scale = current_.scale;
  if (scale.defined()) scale = scale.to(at::kFloat);
  const StoredTensor rows = job_.map.stored_rows(slab.name, slab.begin, slab.count,
                                                 aligned ? bytes : bytes.clone(), scale);
  at::Tensor wide = at::empty(rows.shape, at::kFloat);
  weights::expand_into(rows, wide);
  if (!current_.delta.defined()) return wide;
  return wide.add_(current_.delta.dim() == 0 ? current_.delta
                                             : current_.delta.narrow(0, slab.begin, slab.count));
}

void ComponentQuantiser::quantise(const RowSlab& slab, const at::Tensor& bytes,
                                  QuantizeWriter& writer) {
  const at::ScalarType dtype = current_.source.entry->dtype;
  const bool direct = is_plain(current_.source) && !current_.delta.defined() &&
                      (dtype == at::kBFloat16 || dtype == at::kHalf || dtype == at::kFloat);
  const at::Tensor rows = direct ? as_stored(slab, bytes) : expanded(slab, bytes);
  std::vector<weights::RowError> errors(static_cast<size_t>(slab.count));
  weights::Int8Rows made = weights::quantise_rows(rows, current_.plan->rotation, errors);
  const int64_t broken = weights::first_broken_row(made.row_scale);
  if (broken >= 0) job_.map.refuse_row(slab.name, slab.begin + broken);
  add_errors(errors);
  const int64_t all_rows = current_.source.entry->shape[0];
  writer.put(place_of(current_.plan->scale_index, slab.begin, all_rows), std::move(made.row_scale));
  writer.put(place_of(current_.plan->index, slab.begin, all_rows), std::move(made.values),
             finished(slab));
}

// In the order of the rows, so that the sums are the same with any number of threads.
void ComponentQuantiser::add_errors(const std::vector<weights::RowError>& errors) {
  TensorRecord& record = current_.record;
  for (const weights::RowError& error : errors) {
    record.signal += error.signal;
    record.noise += error.noise;
    record.overlap += error.overlap;
    record.max_error = std::max(record.max_error, static_cast<double>(error.max_error));
  }
}

void ComponentQuantiser::require_finite(const RowSlab& slab, const at::Tensor& rows) const {
  const int64_t broken = weights::first_row_not_finite(rows);
  if (broken >= 0) job_.map.refuse_row(slab.name, slab.begin + broken);
}

void ComponentQuantiser::keep(const RowSlab& slab, const at::Tensor& bytes,
                              QuantizeWriter& writer) {
  const weights::HeaderTensor& target = job_.plan.header[current_.plan->index];
  const bool same = is_plain(current_.source) && !current_.delta.defined() &&
                    current_.source.entry->dtype == target.dtype;
  at::Tensor rows = same ? as_stored(slab, bytes) : expanded(slab, bytes).to(target.dtype);
  require_finite(slab, rows);
  // The bytes of the stream are gone with the next turn.
  if (same) rows = rows.clone();
  const int64_t all_rows = target.shape.empty() ? 1 : target.shape[0];
  writer.put(place_of(current_.plan->index, slab.begin, all_rows), std::move(rows), finished(slab));
}

// SHA-256 of one line for each tensor: hash of its bytes, type, shape, native name.
std::string ComponentQuantiser::source_hash() const {
  weights::Sha256 sum;
  for (const PlannedTensor& tensor : job_.plan.tensors) {
    const TensorRecord* record = journal_.find(job_.plan.file, tensor.name);
    T2V_ASSERT(record != nullptr);
    const weights::TensorEntry& entry = *job_.map.storage_of(tensor.name).entry;
    const std::string line = core::str(record->source_hash, " ", weights::stored_type_name(entry),
                                       " ", c10::IntArrayRef(entry.shape), " ", tensor.name, "\n");
    sum.add(std::as_bytes(std::span(line)));
  }
  return sum.finish();
}

QuantizedLayer ComponentQuantiser::layer_of(const PlannedTensor& tensor) const {
  const TensorRecord& r = *journal_.find(job_.plan.file, tensor.name);
  const auto source = job_.map.storage_of(tensor.name);
  const std::vector<int64_t>& shape = source.entry->shape;
  // Of the weight w and what its int8 stands for, w - e.
  const double restored = r.signal - 2 * r.overlap + r.noise;
  const double lengths = std::sqrt(r.signal * std::max(restored, 0.0));
  QuantizedLayer layer;
  layer.component = job_.plan.component;
  layer.name = tensor.name.substr(0, tensor.name.rfind('.'));
  layer.source = source.scheme != nullptr ? source.scheme->scheme
                                          : std::string(weights::stored_type_name(*source.entry));
  layer.rows = shape[0];
  layer.columns = shape[1];
  layer.rotation = tensor.rotation;
  layer.sqnr_db = r.noise > 0 ? 10 * std::log10(r.signal / r.noise) : kNoNoiseDb;
  layer.cosine = lengths > 0 ? (r.signal - r.overlap) / lengths : 1;
  layer.max_error = r.max_error;
  layer.bytes_before = source_bytes(job_.map, tensor.name);
  layer.bytes_after =
      job_.plan.header[tensor.index].bytes() + job_.plan.header[tensor.scale_index].bytes();
  return layer;
}

}  // namespace

int64_t source_bytes(const WeightMap& map, const std::string& name) {
  const auto source = map.storage_of(name);
  const bool has_scale = source.scheme != nullptr && source.scheme->scale != nullptr;
  return source.entry->bytes + (has_scale ? source.scheme->scale->bytes : 0);
}

int64_t bytes_done(const WeightMap& map, const ComponentPlan& plan,
                   const QuantizeJournal& journal) {
  int64_t sum = 0;
  for (const PlannedTensor& tensor : plan.tensors)
    if (journal.find(plan.file, tensor.name) != nullptr) sum += source_bytes(map, tensor.name);
  return sum;
}

ComponentResult quantize_component(const ComponentJob& job, QuantizeJournal& journal) {
  return ComponentQuantiser(job, journal).run();
}

}  // namespace t2v::pipeline
