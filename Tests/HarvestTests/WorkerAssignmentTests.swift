import Foundation
import TestSupport
import Testing

@testable import Harvest

struct WorkerAssignmentTests {
  private static func slurm(_ id: Any, min: Int, max: Int, step: Int = 1, count: Any) -> [String: String] {
    [
      "SLURM_ARRAY_TASK_ID": "\(id)", "SLURM_ARRAY_TASK_MIN": "\(min)", "SLURM_ARRAY_TASK_MAX": "\(max)",
      "SLURM_ARRAY_TASK_STEP": "\(step)", "SLURM_ARRAY_TASK_COUNT": "\(count)",
    ]
  }

  /// The arrays are 0-7, 1-7:2 and 5, as slurm-wlm 22.05 describes such.
  @Test(arguments: [
    ([:], "worker 0 of 1"),
    (["HOME": "/root", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"], "worker 0 of 1"),
    (slurm(0, min: 0, max: 7, count: 8), "worker 0 of 8 (SLURM_ARRAY_TASK_ID)"),
    (slurm(7, min: 0, max: 7, count: 8), "worker 7 of 8 (SLURM_ARRAY_TASK_ID)"),
    (slurm(1, min: 1, max: 7, step: 2, count: 4), "worker 0 of 4 (SLURM_ARRAY_TASK_ID)"),
    (slurm(5, min: 1, max: 7, step: 2, count: 4), "worker 2 of 4 (SLURM_ARRAY_TASK_ID)"),
    (slurm(5, min: 5, max: 5, count: 1), "worker 0 of 1 (SLURM_ARRAY_TASK_ID)"),
    (["JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "8"], "worker 3 of 8 (JOB_COMPLETION_INDEX)"),
    (["OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"], "worker 1 of 2 (OMPI_COMM_WORLD_RANK)"),
    (["PMI_RANK": "1", "PMI_SIZE": "2", "PMI_FD": "6"], "worker 1 of 2 (PMI_RANK)"),
    (["RANK": "15", "WORLD_SIZE": "16", "LOCAL_RANK": "7"], "worker 15 of 16 (RANK)"),
  ])
  func everyLauncherIsUnderstood(environment: [String: String], expected: String) throws {
    #expect(try WorkerAssignment(option: nil, environment: environment).description == expected)
  }

  @Test func theOptionOverrulesEvenAnEnvironmentThatMakesNoSense() throws {
    for environment in [[:], ["RANK": "x"], WorkerAssignmentTests.slurm(3, min: 0, max: 7, count: 8)] {
      #expect(try WorkerAssignment(option: "0/1", environment: environment).description == "worker 0 of 1 (--worker)")
      #expect(try WorkerAssignment(option: "2/3", environment: environment).description == "worker 2 of 3 (--worker)")
    }
    for option in ["3/3", "-1/3", "1", "1/", "/2", "0/0", "a/b", "1/2/3", "", "1/99999999999999999999"] {
      #expect(throws: HarvestError.setting(name: "worker", value: option, allowed: "I/N with 0 ≤ I < N")) {
        try WorkerAssignment(option: option)
      }
    }
  }

  @Test func launchersInsideEachOtherMustAgree() throws {
    var environment = WorkerAssignmentTests.slurm(3, min: 0, max: 7, count: 8)
    // srun and mpirun number the one process of a task too.
    environment["PMI_RANK"] = "0"
    environment["PMI_SIZE"] = "1"
    #expect(
      try WorkerAssignment(option: nil, environment: environment).description == "worker 3 of 8 (SLURM_ARRAY_TASK_ID)")
    environment["RANK"] = "3"
    environment["WORLD_SIZE"] = "8"
    #expect(
      try WorkerAssignment(option: nil, environment: environment).description == "worker 3 of 8 (SLURM_ARRAY_TASK_ID)")
    environment["RANK"] = "0"
    environment["WORLD_SIZE"] = "2"
    let error = #expect(throws: HarvestError.self) { try WorkerAssignment(option: nil, environment: environment) }
    #expect(
      error?.description == "SLURM_ARRAY_TASK_ID makes this worker 3 of 8, RANK worker 0 of 2" + remedy
        && error?.exitCode == 64)
  }

  private let remedy =
    "; or say --worker I/N, which overrules the environment (--worker 0/1 harvests everything)"

  @Test(arguments: [
    (["RANK": "1"], "WORLD_SIZE is not set, but RANK is (1)"),
    (["WORLD_SIZE": "4"], "RANK is not set, but WORLD_SIZE is (4)"),
    (
      ["JOB_COMPLETION_INDEX": "3"],
      "JOB_COMPLETIONS is not set, but JOB_COMPLETION_INDEX is (3); Kubernetes does not set it: give the container the "
        + "Job's spec.completions under this name"
    ),
    (["PMI_RANK": "2", "PMI_SIZE": "2"], "PMI_RANK is 2, PMI_SIZE is 2; the first must be less"),
    (["PMI_RANK": "0", "PMI_SIZE": "0"], "PMI_RANK is 0, PMI_SIZE is 0; the first must be less"),
    (["PMI_RANK": "", "PMI_SIZE": "2"], "PMI_RANK is \"\", not a whole number of 0 and more"),
    (["RANK": "-1", "WORLD_SIZE": "2"], "RANK is \"-1\", not a whole number of 0 and more"),
    (
      ["OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "99999999999999999999"],
      "OMPI_COMM_WORLD_SIZE is \"99999999999999999999\", not a whole number of 0 and more"
    ),
    (["SLURM_ARRAY_TASK_ID": "3"], "SLURM_ARRAY_TASK_COUNT is not set, but SLURM_ARRAY_TASK_ID is (3)"),
    (["SLURM_ARRAY_TASK_MIN": "0"], "SLURM_ARRAY_TASK_ID is not set, but SLURM_ARRAY_TASK_MIN is (0)"),
    (slurm("%a", min: 0, max: 3, count: 4), "SLURM_ARRAY_TASK_ID is \"%a\", not a whole number of 0 and more"),
    // --array=0,2,3 as slurm-wlm 22.05 sets it.
    (
      slurm(2, min: 0, max: 3, count: 3),
      "SLURM_ARRAY_TASK_ID is 2 in an array of 3 tasks from 0 to 3 in steps of 1, which has gaps; submit an array "
        + "without, such as --array=0-2"
    ),
    // --array=1-5:2,4
    (
      slurm(4, min: 1, max: 5, step: 2, count: 4),
      "SLURM_ARRAY_TASK_ID is 4 in an array of 4 tasks from 1 to 5 in steps of 2, which has gaps; submit an array "
        + "without, such as --array=0-3"
    ),
  ])
  func variablesFromWhichNothingFollowsAreErrors(environment: [String: String], message: String) {
    let error = #expect(throws: HarvestError.self) { try WorkerAssignment(option: nil, environment: environment) }
    #expect(error?.description == message + remedy && error?.exitCode == 64)
  }

  @Test func theKubernetesManifestSaysHowManyWorkersThereAre() throws {
    let text = try String(
      contentsOf: SharedInputs.packageRoot.appendingPathComponent("examples/cluster/harvest-job.yaml"), encoding: .utf8)
    let completions = try #require(text.firstMatch(of: /\n  completions: (\d+)/)).1
    let told = try #require(text.firstMatch(of: /name: JOB_COMPLETIONS\n *value: "(\d+)"/)).1
    #expect(completions == told)
  }

  /// Numbers at the ends of their range are errors, not traps.
  @Test func noArithmeticOnTheVariablesOverflows() {
    let ends = ["0", "1", "\(Int.max)"]
    for id in ends {
      for min in ends {
        for max in ends {
          for step in ends {
            for count in ends {
              let environment = [
                "SLURM_ARRAY_TASK_ID": id, "SLURM_ARRAY_TASK_MIN": min, "SLURM_ARRAY_TASK_MAX": max,
                "SLURM_ARRAY_TASK_STEP": step, "SLURM_ARRAY_TASK_COUNT": count,
              ]
              guard let worker = try? WorkerAssignment(option: nil, environment: environment) else { continue }
              #expect((0..<worker.count).contains(worker.index))
            }
          }
        }
      }
    }
  }
}
