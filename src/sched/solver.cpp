#include "sched/solver.h"

#include "sched/dpmpp.h"
#include "sched/euler.h"
#include "sched/unipc.h"

namespace t2v::sched {

SolverState::~SolverState() = default;

std::unique_ptr<SolverState> make_solver(Solver solver, const NoiseSchedule& schedule) {
  switch (solver) {
    case Solver::kUniPC:
      return std::make_unique<UniPC>(schedule);
    case Solver::kDpmpp:
      return std::make_unique<DpmSolverPp>(schedule);
    case Solver::kEuler:
      break;
  }
  return std::make_unique<Euler>(schedule);
}

}  // namespace t2v::sched
