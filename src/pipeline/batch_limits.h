// How many videos go together, by the memory plan and by what a killed process may lose.
#pragma once

#include <optional>

#include "pipeline/engine_state.h"
#include "t2v/batch.h"

namespace t2v::pipeline {

// last_video_ms below: what denoising one took, 0 when that is not known yet.

// Videos of this recipe's shape that take their steps together.
int64_t group_limit(const EngineState& engine, const Recipe& recipe, double last_video_ms);

// Groups that go through one expert before the other comes. More than one where experts that
// cannot both stay change once a wave instead of once a video.
int64_t wave_limit(const EngineState& engine, const Recipe& recipe, double last_video_ms);

// Whether there is room to decode a video while the next one is denoised.
bool decodes_beside(const EngineState& engine, const Recipe& recipe);

// `plan` of these videos, made so that texts of later ones are encoded meanwhile; nothing where
// there is no room for that.
std::optional<MemoryPlan> plan_with_texts(const EngineState& engine, const Recipe& recipe,
                                          Together together, const MemoryPlan& plan);

// Whether two videos can take their steps together at all.
bool suit_each_other(const BatchItem& a, const BatchItem& b);

}  // namespace t2v::pipeline
