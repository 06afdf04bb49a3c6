import Evaluate
import Foundation

/// What was named as runs, without the files among them (a pattern such as `sweep/*` names sweep.csv, too), which are
/// noted on standard error. Throws `EvaluateError.missing` if there are only files.
func runFolders(_ paths: [String]) throws -> [String] {
  func isFile(_ path: String) -> Bool {
    let place = URL(fileURLWithPath: path).resolvingSymlinksInPath().path
    let type = (try? FileManager.default.attributesOfItem(atPath: place))?[.type] as? FileAttributeType
    return type == .typeRegular
  }
  let files = paths.filter(isFile)
  if let file = files.first, files.count == paths.count {
    throw EvaluateError.missing(
      "\(file): a file, not the folder of a run; give the folder of a run of `actcache train`")
  }
  for file in files { printError("note: \(file) is a file, not a run; it is left out") }
  return paths.filter { !isFile($0) }
}
