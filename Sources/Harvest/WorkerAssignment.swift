/// Which share of the shards a process harvests: those whose number leaves `index` when divided by `count`.
///
/// An assignment only shares out the work: what is finished is skipped whoever made it, so a cache may be begun by eight
/// workers and finished by one.
package struct WorkerAssignment: Equatable, Sendable, CustomStringConvertible {
  package let index: Int
  package let count: Int
  /// What said so: "--worker" or the environment's variable; nil if nothing did.
  package let origin: String?

  package var description: String { "worker \(index) of \(count)" + (origin.map { " (\($0))" } ?? "") }

  /// - Parameters:
  ///   - option: the text of `--worker`, "I/N" with 0 ≤ I < N; it overrules the environment, which is then not looked
  ///     at.
  ///   - environment: the process's variables. If none of a launcher's are among them, the process harvests everything.
  /// - Throws: `HarvestError.setting` for `option`, `.environment` for variables that are malformed, lack their
  ///   companions or contradict each other.
  package init(option: String?, environment: [String: String] = [:]) throws(HarvestError) {
    if let option {
      self = try WorkerAssignment(option)
      return
    }
    var found: [WorkerAssignment] = []
    if let slurm = try WorkerAssignment(slurm: environment) { found.append(slurm) }
    for (index, count, hint) in WorkerAssignment.ranks {
      if let rank = try WorkerAssignment(environment, index: index, count: count, hint: hint) { found.append(rank) }
    }
    // One process started by `mpirun` or `srun` inside a task of an array is not a share of its own.
    let shares = found.filter { $0.count > 1 }
    guard let first = shares.first ?? found.first else {
      self.init(index: 0, count: 1, origin: nil)
      return
    }
    if let other = shares.first(where: { ($0.index, $0.count) != (first.index, first.count) }) {
      throw HarvestError.environment(
        "\(first.origin ?? "") makes this worker \(first.index) of \(first.count), \(other.origin ?? "") worker "
          + "\(other.index) of \(other.count)")
    }
    self = first
  }

  private init(index: Int, count: Int, origin: String?) {
    self.index = index
    self.count = count
    self.origin = origin
  }

  private init(_ option: String) throws(HarvestError) {
    let parts = option.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let index = parts[0], let count = parts[1], count >= 1, (0..<count).contains(index) else {
      throw HarvestError.setting(name: "worker", value: option, allowed: "I/N with 0 ≤ I < N")
    }
    self.init(index: index, count: count, origin: "--worker")
  }

  // MARK: launchers

  /// Variables of launchers that number their processes from 0 on: the number, how many there are, and what to do where
  /// the latter is missing.
  private static let ranks = [
    // Kubernetes, Job with completionMode: Indexed. https://kubernetes.io/docs/concepts/workloads/controllers/job
    (
      "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS",
      "; Kubernetes does not set it: give the container the Job's spec.completions under this name"
    ),
    // Open MPI's mpirun.
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ""),
    // MPICH, Intel MPI, `srun --mpi=pmi2`.
    ("PMI_RANK", "PMI_SIZE", ""),
    // torchrun.
    ("RANK", "WORLD_SIZE", ""),
  ]

  /// nil if neither variable is set.
  private init?(
    _ environment: [String: String], index indexName: String, count countName: String, hint: String
  ) throws(HarvestError) {
    guard environment[indexName] != nil || environment[countName] != nil else { return nil }
    let (index, count) = (
      try integer(indexName, of: environment, beside: countName),
      try integer(countName, of: environment, beside: indexName, hint: hint)
    )
    guard index < count else {
      throw HarvestError.environment("\(indexName) is \(index), \(countName) is \(count); the first must be less")
    }
    self.init(index: index, count: count, origin: indexName)
  }

  /// A task of a Slurm job array, whose ids may begin anywhere and go in steps (`--array=1-7:2`). nil if there is none.
  private init?(slurm environment: [String: String]) throws(HarvestError) {
    let name = "SLURM_ARRAY_TASK_ID"
    let others = ["COUNT", "MIN", "MAX", "STEP"].map { "SLURM_ARRAY_TASK_" + $0 }
    guard ([name] + others).contains(where: { environment[$0] != nil }) else { return nil }
    let id = try integer(name, of: environment, beside: others.first { environment[$0] != nil } ?? "")
    var numbers: [Int] = []
    for other in others { numbers.append(try integer(other, of: environment, beside: name)) }
    let (count, min, max, step) = (numbers[0], numbers[1], numbers[2], numbers[3])
    guard step >= 1, min <= id, id <= max, (id - min) % step == 0, (max - min) % step == 0,
      count >= 1, (max - min) / step == count - 1
    else {
      throw HarvestError.environment(
        "\(name) is \(id) in an array of \(count) tasks from \(min) to \(max) in steps of \(step), which has gaps; submit "
          + "an array without, such as --array=0-\(Swift.max(count, 1) - 1)")
    }
    self.init(index: (id - min) / step, count: count, origin: name)
  }
}

/// - Parameters:
///   - companion: a variable that is set, for the message.
///   - hint: where a missing one comes from.
/// - Throws: `HarvestError.environment` if the variable is not set or not a number of 0 and more.
private func integer(
  _ name: String, of environment: [String: String], beside companion: String, hint: String = ""
) throws(HarvestError) -> Int {
  guard let text = environment[name] else {
    throw HarvestError.environment(
      "\(name) is not set, but \(companion) is (\(environment[companion] ?? ""))\(hint)")
  }
  guard let value = Int(text), value >= 0 else {
    throw HarvestError.environment("\(name) is \"\(text)\", not a whole number of 0 and more")
  }
  return value
}
