import Foundation
import Memory
import Testing

@Suite struct ShellWordTests {
  @Test func wordsWithoutSpecialCharactersStayAsTheyAre() {
    for word in ["runs/a-1_b.yaml", "k=16,32", "a@b:c%d+e"] { #expect(shellWord(word) == word) }
    #expect(shellWord("") == "''")
    #expect(shellWord("a b") == "'a b'")
    #expect(shellWord("it's") == #"'it'\''s'"#)
    #expect(shellWord("~") == "'~'")
  }

  @Test func aShellReadsTheWordThatWasGiven() throws {
    for word in ["", "'", "a'b''", "$HOME `ls` \\ \"x\" *", "two\nlines", "-n", "ü; rm"] {
      let shell = Process()
      shell.executableURL = URL(fileURLWithPath: "/bin/sh")
      shell.arguments = ["-c", "printf %s \(shellWord(word))x"]
      let pipe = Pipe()
      shell.standardOutput = pipe
      try shell.run()
      let said = pipe.fileHandleForReading.readDataToEndOfFile()
      shell.waitUntilExit()
      #expect(String(decoding: said, as: UTF8.self) == word + "x")
    }
  }
}
