#include "sched/noise_schedule.h"

#include <catch2/catch.hpp>

#include "t2v/error.h"

using namespace t2v;
using sched::make_noise_schedule;

TEST_CASE("UniPC timesteps of the original program") {
  const auto s = make_noise_schedule(Solver::kUniPC, SigmaTable::kWan, 40, 12.0);
  REQUIRE(s.timesteps.size() == 40);
  CHECK(s.timesteps[0] == 999);
  CHECK(s.timesteps[1] == 997);
  CHECK(s.timesteps[2] == 995);
  CHECK(s.timesteps[3] == 993);
  CHECK(s.timesteps[37] == 492);
  CHECK(s.timesteps[38] == 386);
  CHECK(s.timesteps[39] == 235);
  CHECK(s.sigmas[0] == Approx(0.999917).margin(1e-6));
  CHECK(s.sigmas[39] == Approx(0.235110).margin(1e-6));
  CHECK(s.sigmas[40] == 0.0F);
}

TEST_CASE("DPM++ starts at sigma 1") {
  const auto s = make_noise_schedule(Solver::kDpmpp, SigmaTable::kWan, 40, 12.0);
  CHECK(s.timesteps[0] == 1000);
  CHECK(s.timesteps[3] == 993);
  CHECK(s.timesteps[37] == 493);
  CHECK(s.timesteps[38] == 387);
  CHECK(s.timesteps[39] == 235);
  CHECK(s.sigmas[0] == 1.0F);
}

TEST_CASE("table of the diffusers library") {
  const auto s = make_noise_schedule(Solver::kUniPC, SigmaTable::kDiffusers, 40, 12.0);
  CHECK(s.timesteps[0] == 999);
  CHECK(s.timesteps[37] == 496);
  CHECK(s.timesteps[38] == 391);
  CHECK(s.timesteps[39] == 242);
}

TEST_CASE("number of high-noise steps") {
  const auto count = [](int64_t steps, double shift, double boundary) {
    int64_t high = 0;
    for (const double t :
         make_noise_schedule(Solver::kUniPC, SigmaTable::kWan, steps, shift).timesteps)
      high += sched::uses_high_noise(t, boundary) ? 1 : 0;
    return high;
  };
  CHECK(count(40, 12, 0.875) == 26);
  CHECK(count(20, 12, 0.875) == 13);
  CHECK(count(40, 5, 0.9) == 15);
  CHECK(count(40, 3, 0.9) == 10);
  CHECK(
      sched::uses_high_noise(875, 0.875));  // the boundary itself belongs to the high-noise expert
}

TEST_CASE("sigmas fall strictly to 0; shift 1 changes nothing") {
  for (const auto solver : {Solver::kUniPC, Solver::kDpmpp, Solver::kEuler}) {
    for (const auto table : {SigmaTable::kWan, SigmaTable::kDiffusers}) {
      for (const int64_t steps : {1, 2, 7, 50, 1000}) {
        const auto s = make_noise_schedule(solver, table, steps, 8.0);
        for (size_t i = 1; i < s.sigmas.size(); ++i) REQUIRE(s.sigmas[i] < s.sigmas[i - 1]);
        CHECK(s.sigmas.back() == 0.0F);
      }
    }
  }
  CHECK(sched::shift_sigma(0.37, 1.0) == 0.37);
}

TEST_CASE("impossible schedules are refused") {
  CHECK_THROWS_AS(make_noise_schedule(Solver::kUniPC, SigmaTable::kWan, 0, 5.0), Error);
  CHECK_THROWS_AS(make_noise_schedule(Solver::kUniPC, SigmaTable::kWan, 1001, 5.0), Error);
  CHECK_THROWS_AS(make_noise_schedule(Solver::kUniPC, SigmaTable::kWan, 4, 0.0), Error);
  CHECK_THROWS_AS(make_noise_schedule(Solver::kUniPC, SigmaTable::kWan, 4, 1e300), Error);
}
