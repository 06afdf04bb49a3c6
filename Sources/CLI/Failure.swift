import ActCache
import ArgumentParser
import Evaluate
import Foundation
import Harvest
import Measure
import Memory
import SAE
import Tokenizer
import Train
import Transformer

/// Exit codes beside those of the modules' own errors (sysexits(3)).
enum ExitStatus {
  static let interrupted: Int32 = 130
}

/// The exit code for an error of our modules that reached the command line; nil for those of the argument parser,
/// which prints them and ends the program by itself.
func exitStatus(of error: any Error) -> Int32? {
  switch error {
  case let error as HarvestError: error.exitCode
  case let error as ActCacheError: error.exitCode
  case let error as MemoryError: error.exitCode
  case let error as TransformerError:
    switch error {
    case .noModel: 66
    case .unknownHook, .invalidRequest, .sequenceTooLong: 64
    default: 65
    }
  case let error as TokenizerError:
    switch error {
    case .unreadable, .noTokenizer: 66
    default: 65
    }
  case let error as TrainError:
    switch error {
    case .invalid: 64
    case .missing: 66
    case .busy: 75
    case .mismatch: 65
    case .diverged: 1
    }
  case let error as SAEError:
    switch error {
    case .invalid: 64
    case .damaged: 65
    }
  case let error as MeasureError: error == .interrupted ? ExitStatus.interrupted : 64
  case let error as EvaluateError:
    switch error {
    case .mismatch: 65
    case .invalid: 64
    case .missing: 66
    }
  case is CocoaError, is DecodingError, is EncodingError, is POSIXError: 1
  default: nil
  }
}

func printError(_ message: String) {
  FileHandle.standardError.write(Data("actcache: \(message)\n".utf8))
}

/// Prints `value` as one JSON object on standard output, keys sorted.
func printJSON(_ value: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
  print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
