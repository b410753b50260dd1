#include "models/umt5/encoder.h"

#include "core/check.h"
#include "models/umt5/block.h"
#include "ops/copy_lane.h"
#include "ops/norm.h"
#include "weights/weight_block.h"

namespace t2v::models::umt5 {

weights::Expectations Encoder::expectations(const TextEncoderSpec& spec) {
  weights::Expectations expected;
  expected.tensors.push_back({"token_embedding.weight", {spec.vocab_size, spec.size}});
  for (int64_t i = 0; i < spec.num_blocks; ++i) expect_block(spec, i, expected);
  expected.tensors.push_back({"norm.weight", {spec.size}});
  return expected;
}

Encoder::Encoder(const TextEncoderSpec& spec, weights::WeightMap map, at::ScalarType dtype,
                 at::Device device)
    : spec_(spec), map_(std::move(map)), dtype_(dtype), device_(device) {
  weights::Expectations expected = expectations(spec);
  expected.ignore_extra = true;  // what is read must be there; the rest is open_model's to judge
  map_.check(expected);
}

std::vector<at::Tensor> Encoder::encode(const std::vector<std::vector<int64_t>>& ids,
                                        const weights::StreamOptions& options,
                                        const std::function<void(int64_t, int64_t)>& after_block) {
  std::vector<at::Tensor> states;
  std::vector<at::Tensor> buckets;
  for (const auto& prompt : ids) {
    for (const int64_t id : prompt)
      T2V_REQUIRE(id >= 0 && id < spec_.vocab_size, ErrorKind::kModel, map_.label(),
                  ": the tokenizer gave id ", id, " but the vocabulary has ", spec_.vocab_size,
                  " entries; do tokenizer and text_encoder belong together?");
    states.push_back(map_.take_rows("token_embedding.weight", prompt, at::kFloat).to(device_));
    buckets.push_back(relative_buckets(static_cast<int64_t>(prompt.size()), spec_).to(device_));
  }
  std::vector<weights::Turn> turns;
  for (int64_t i = 0; i < spec_.num_blocks; ++i) {
    std::vector<const weights::TensorEntry*> entries;
    for (const auto& named : map_.entries(core::str("blocks.", i, ".")))
      entries.push_back(named.second);
    turns.push_back(weights::make_turn(i, std::move(entries)));
  }
  weights::WeightStream stream(map_.checkpoint().files(), std::move(turns), {}, options);
  ops::CopyLane lane(device_);
  for (int64_t i = 0; i < spec_.num_blocks; ++i) {
    const auto loaded = stream.next();
    const weights::WeightBlock source(map_, *loaded.turn, loaded.data);
    // Returns when the device has the weights: the stream's buffer may then be read into again.
    std::shared_ptr<const BlockWeights> block;
    lane.run([&] {
      block =
          std::make_shared<const BlockWeights>(load_block(Placement{source, dtype_, device_}, i));
    });
    for (size_t p = 0; p < states.size(); ++p)
      states[p] = run_block(*block, spec_, states[p], buckets[p]);
    lane.give_up(std::move(block));
    counts_ = stream.counts();
    after_block(i + 1, spec_.num_blocks);
  }
  lane.settle();
  const at::Tensor norm = map_.take("norm.weight", at::kFloat).to(device_);
  for (at::Tensor& state : states) state = ops::rms_norm(state, norm, spec_.eps);
  return states;
}

}  // namespace t2v::models::umt5
