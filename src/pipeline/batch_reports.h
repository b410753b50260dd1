// Reports of videos that took their steps together.
#pragma once

#include "t2v/engine.h"

namespace t2v::pipeline {

// The videos of a group have the same times, steps and traffic.
void share_report(const Report& from, int64_t videos, Report& to);

// What a pass of the text encoder took that was made ahead, beside other videos: its stages stand
// at the beginning, 0 ms.
void add_text_report(const Report& from, Report& to);

// They are predicted each by itself.
void share_step_cache(const StepCacheUse& use, Report& to);

}  // namespace t2v::pipeline
