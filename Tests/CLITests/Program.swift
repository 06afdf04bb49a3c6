import Foundation
import TestSupport

/// What a run of the program gave.
struct Outcome {
  var status: Int32
  var output: String
  var errors: String
}

/// The program that was built beside these tests.
func program(_ arguments: [String]) -> Process {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appendingPathComponent("actcache")
  process.arguments = arguments
  process.currentDirectoryURL = SharedInputs.packageRoot
  return process
}

func actcache(_ arguments: String...) throws -> Outcome { try actcache(arguments) }

func actcache(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
  let process = program(arguments)
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let (output, errors) = (Pipe(), Pipe())
  process.standardOutput = output
  process.standardError = errors
  try process.run()
  let text = output.fileHandleForReading.readDataToEndOfFile()
  let messages = errors.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return Outcome(
    status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
    errors: String(decoding: messages, as: UTF8.self))
}
