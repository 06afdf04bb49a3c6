import Foundation
import LinearAlgebra

/// What every figure was measured on.
package struct Machine: Codable, Equatable, Sendable {
  package var cpu: String
  package var cores: Int
  package var threads: Int
  package var blasCore: String
  package var memoryBytes: Int
  /// Of the last minute, when the measuring began: above 0.5 per core, others were at work.
  package var load: Double

  package static var here: Machine {
    let load = FileManager.default.contents(atPath: "/proc/loadavg").flatMap {
      String(decoding: $0, as: UTF8.self).split(separator: " ").first.flatMap { Double($0) }
    }
    return Machine(
      cpu: CPU.model, cores: CPU.availableCores, threads: Threads.count, blasCore: BLASLibrary.coreName,
      memoryBytes: Int(clamping: ProcessInfo.processInfo.physicalMemory), load: load ?? 0)
  }
}
