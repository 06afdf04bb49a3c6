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
    do { command = try parseAsRoot(joiningNegativeNumbers(Array(CommandLine.arguments.dropFirst()))) } catch {
      exit(withError: error)
    }
    do { try command.run() } catch {
      finishOutput()
      guard let status = exitStatus(of: error) else { exit(withError: error) }
      fail("\(error)", status: status)
    }
    finishOutput()
  }

  /// `--clip -1` as `--clip=-1`: the parser takes -1 for a flag, and would say that the value is missing. No flag of ours is
  /// a number, and a number that an option does not allow is refused with what it allows.
  static func joiningNegativeNumbers(_ arguments: [String]) -> [String] {
    var joined: [String] = []
    for argument in arguments {
      if argument.hasPrefix("-"), Double(argument) != nil, let option = joined.last, option.hasPrefix("--"),
        option.count > 2, !option.contains("=")
      {
        joined[joined.count - 1] = "\(option)=\(argument)"
      } else {
        joined.append(argument)
      }
    }
    return joined
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
