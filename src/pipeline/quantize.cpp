// t2v::quantize_model: the parts of a model one after the other.
#include "t2v/quantize.h"

#include <ATen/Parallel.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "pipeline/loras.h"
#include "pipeline/model.h"
#include "pipeline/quantize_component.h"
#include "pipeline/quantize_folder.h"
#include "pipeline/quantize_journal.h"
#include "pipeline/quantize_plan.h"
#include "weights/byte_hash.h"
#include "weights/sha256.h"

namespace t2v::pipeline {
namespace {

namespace fs = std::filesystem;
using weights::ModelPart;
using weights::WeightMap;

constexpr int64_t kCopyBytes = int64_t{8} << 20;

std::string lora_words(const LoraOption& lora) {
  return core::str(weights::base_name(lora.path), lora.expert.empty() ? "" : "@", lora.expert, ":",
                   lora.strength);
}

// One component that is quantised.
struct Part {
  std::string component;
  WeightMap map;
  std::shared_ptr<const weights::LoraSet> loras;
  ComponentPlan plan;
};

class ModelQuantiser {
 public:
  ModelQuantiser(const QuantizeOptions& options, const CancelToken& cancel)
      : options_(options),
        cancel_(cancel),
        model_(open_model(options.engine, open_storage(options.engine))) {}

  QuantizeReport run();

 private:
  void plan();
  void add_part(const std::string& component, ModelPart part, const std::string& file,
                std::shared_ptr<const weights::LoraSet> loras);
  void count_bytes(const QuantizeJournal& journal);
  void write_made(const MadeFile& file) const;
  void copy(const CopiedFile& file, QuantizeJournal& journal);
  void copy_bytes(const CopiedFile& file, const std::string& to, QuantizeJournal& journal);
  void tell(const std::string& component, int64_t bytes);
  [[nodiscard]] std::string path_of(const std::string& file) const {
    return options_.folder + "/" + file;
  }

  const QuantizeOptions& options_;
  const CancelToken& cancel_;
  Model model_;
  TargetLayout layout_;
  std::vector<Part> parts_;
  QuantizeReport report_;
  QuantizeProgress progress_;
  int64_t bytes_to_write_ = 0;
};

void ModelQuantiser::add_part(const std::string& component, ModelPart part, const std::string& file,
                              std::shared_ptr<const weights::LoraSet> loras) {
  PlanOptions wanted{.rotation = options_.engine.int8_rotation,
                     .preset = options_.engine.quant_preset,
                     .loras = ""};
  for (const std::string& lora : report_.loras)
    wanted.loras += (wanted.loras.empty() ? "" : ", ") + lora;
  WeightMap map = open_weights(model_, component);
  ComponentPlan planned = plan_component(map, part, component, file, wanted);
  parts_.push_back({component, std::move(map), std::move(loras), std::move(planned)});
}

// The high-noise expert comes last: without it the folder is known to be incomplete.
void ModelQuantiser::plan() {
  layout_ = plan_layout(model_);
  report_.folder = options_.folder;
  report_.rotation = options_.engine.int8_rotation;
  for (const LoraOption& lora : options_.engine.loras) report_.loras.push_back(lora_words(lora));
  ExpertLoras loras = open_loras(options_.engine, model_);
  add_part("text_encoder", ModelPart::kTextEncoder, layout_.text_encoder, nullptr);
  if (model_.two_experts())
    add_part("transformer_2", ModelPart::kTransformer, layout_.transformer_2,
             std::move(loras.low_noise));
  add_part("transformer", ModelPart::kTransformer, layout_.transformer,
           std::move(loras.high_noise));
}

void ModelQuantiser::count_bytes(const QuantizeJournal& journal) {
  for (const Part& part : parts_) {
    const int64_t done = bytes_done(part.map, part.plan, journal);
    report_.bytes_kept += done;
    progress_.bytes_total -= done;
    for (const auto& tensor : part.plan.tensors)
      progress_.bytes_total += source_bytes(part.map, tensor.name);
    std::error_code absent;
    const bool has_file = fs::exists(path_of(part.plan.file), absent) ||
                          fs::exists(path_of(part.plan.file) + ".partial", absent);
    if (!has_file) bytes_to_write_ += part.plan.bytes();
  }
  for (const CopiedFile& file : layout_.copies) {
    const int64_t bytes = model_.storage->open(file.from)->size();
    if (journal.find(file.to, "") != nullptr) continue;
    progress_.bytes_total += bytes;
    bytes_to_write_ += bytes;
  }
}

void ModelQuantiser::tell(const std::string& component, int64_t bytes) {
  progress_.component = component;
  progress_.bytes_done += bytes;
  if (options_.on_progress) options_.on_progress(progress_);
}

void ModelQuantiser::write_made(const MadeFile& file) const {
  fs::create_directories(fs::path(path_of(file.to)).parent_path());
  core::remove_abandoned(path_of(file.to));
  core::AtomicFile out(path_of(file.to));
  out.write(file.text.data(), file.text.size());
  out.commit();
}

// Read once: the hash is made of the bytes that are written.
void ModelQuantiser::copy_bytes(const CopiedFile& file, const std::string& to,
                                QuantizeJournal& journal) {
  const auto source = model_.storage->open(file.from);
  weights::ByteHash hash;
  std::vector<std::byte> piece(static_cast<size_t>(std::min(kCopyBytes, source->size())));
  core::remove_abandoned(to);
  core::AtomicFile out(to);
  for (int64_t offset = 0; offset < source->size(); offset += kCopyBytes) {
    T2V_REQUIRE(!cancel_.cancelled(), ErrorKind::kCancelled,
                "interrupted; the same command goes on where it stopped");
    const int64_t bytes = std::min(kCopyBytes, source->size() - offset);
    const auto part = std::span(piece).first(static_cast<size_t>(bytes));
    source->read(offset, part);
    hash.add(part);
    out.write(part.data(), part.size());
    report_.bytes_read += bytes;
    report_.bytes_written += bytes;
    tell(file.component, bytes);
  }
  out.commit();
  const TensorRecord record{.file = file.to, .tensor = "", .source_hash = hash.finish()};
  journal.append({&record, 1});
}

void ModelQuantiser::copy(const CopiedFile& file, QuantizeJournal& journal) {
  const std::string to = path_of(file.to);
  std::error_code failed;
  fs::create_directories(fs::path(to).parent_path(), failed);
  T2V_REQUIRE(!failed, ErrorKind::kOutput,
              "cannot make the folder of an output: ", failed.message(), " ('", to, "')");
  const bool done = journal.find(file.to, "") != nullptr && fs::exists(to, failed);
  if (!done) copy_bytes(file, to, journal);
  if (file.component.empty()) return;
  const std::string line = core::str(journal.find(file.to, "")->source_hash, " ", file.to, "\n");
  weights::Sha256 sum;
  sum.add(std::as_bytes(std::span(line)));
  const auto bytes = static_cast<int64_t>(fs::file_size(to));
  report_.files.push_back({.component = file.component,
                           .path = file.to,
                           .source_sha256 = sum.finish(),
                           .bytes_before = bytes,
                           .bytes_after = bytes});
}

QuantizeReport ModelQuantiser::run() {
  const auto begin = std::chrono::steady_clock::now();
  require_runnable(model_);
  if (options_.engine.num_threads > 0) at::set_num_threads(options_.engine.num_threads);
  plan();
  prepare_folder(options_.folder, model_);
  QuantizeJournal journal(options_.folder, describe_job(model_, options_.engine));
  count_bytes(journal);
  require_space(options_.folder, bytes_to_write_);
  for (const MadeFile& file : layout_.made) write_made(file);
  for (const CopiedFile& file : layout_.copies) copy(file, journal);
  for (const Part& part : parts_) {
    fs::create_directories(fs::path(path_of(part.plan.file)).parent_path());
    tell(part.component, 0);
    ComponentResult done =
        quantize_component({.map = part.map,
                            .loras = part.loras.get(),
                            .plan = part.plan,
                            .folder = options_.folder,
                            .cancel = cancel_,
                            .on_bytes = [&](int64_t bytes) { tell(part.component, bytes); }},
                           journal);
    report_.layers.insert(report_.layers.end(), std::make_move_iterator(done.layers.begin()),
                          std::make_move_iterator(done.layers.end()));
    report_.files.push_back(std::move(done.file));
    report_.bytes_read += done.bytes_read;
    report_.bytes_written += done.bytes_written;
    report_.read_seconds += done.read_seconds;
  }
  if (!layout_.index.to.empty()) copy(layout_.index, journal);
  journal.remove();
  report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return std::move(report_);
}

}  // namespace
}  // namespace t2v::pipeline

namespace t2v {

QuantizeReport quantize_model(const QuantizeOptions& options, const CancelToken& cancel) {
  T2V_REQUIRE(options.engine.quant == Quant::kAuto || options.engine.quant == Quant::kInt8,
              ErrorKind::kUsage, "--quant ", quant_name(options.engine.quant),
              ": t2v quantize writes int8 only in this version; --quant fp8 and int8-wo work on "
              "the fly in t2v generate");
  return pipeline::ModelQuantiser(options, cancel).run();
}

}  // namespace t2v
