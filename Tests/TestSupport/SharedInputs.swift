import Foundation

/// The folder of real inputs beside the project (`../shared`), which a checkout may or may not have.
public enum SharedInputs {
  public static let packageRoot = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// nil where the file is not there; a test that needs it is then skipped.
  public static func path(_ relative: String) -> String? {
    let path = packageRoot.appendingPathComponent("../shared/\(relative)").standardizedFileURL.path
    return FileManager.default.fileExists(atPath: path) ? path : nil
  }
}

/// A folder that is removed when the value ends.
public final class TemporaryFolder: Sendable {
  public let path: String

  public init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("actcache-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
