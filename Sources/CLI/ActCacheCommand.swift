import ArgumentParser
import Foundation
import LinearAlgebra
import Memory

@main
struct ActCacheCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "actcache",
    abstract: "Run a transformer once over a corpus, keep its activations, train any number of sparse autoencoders.",
    version: version,
    subcommands: [
      HarvestCommand.self, TrainCommand.self, SweepCommand.self, EvalCommand.self, CompareCommand.self,
      EncodeCommand.self,
      InfoCommand.self, LsCommand.self,
      VerifyCommand.self, RepairCommand.self, IndexCommand.self, GcCommand.self, ExportCommand.self, DumpCommand.self,
      PlanCommand.self, BenchCommand.self, DoctorCommand.self,
    ])

  static let version = "0.1.0"

  static func main() {
    useFastKernels()
    if let missing = missingInstructions() { fail(missing, status: 1) }
    var command: any ParsableCommand
    do { command = try parseAsRoot() } catch { exit(withError: error) }
    do { try command.run() } catch {
      finishOutput()
      guard let status = exitStatus(of: error) else { exit(withError: error) }
      fail("\(error)", status: status)
    }
    finishOutput()
  }

  /// Results that could not be written are no success.
  private static func finishOutput() {
    do { try flushStandardOutput() } catch { fail("\(error)", status: error.exitCode) }
  }

  private static func fail(_ message: String, status: Int32) -> Never {
    printError(message)
    Foundation.exit(status)
  }

  /// The kernels are built for the machine that builds them; on a lesser one they would end in SIGILL.
  private static func missingInstructions() -> String? {
    CPU.missing.isEmpty
      ? nil
      : "this program was built for a CPU with \(CPU.missing.joined(separator: ", ")), which this one (\(CPU.model)) "
        + "lacks; build it here: make build"
  }
}
