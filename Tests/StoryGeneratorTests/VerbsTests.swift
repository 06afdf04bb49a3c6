import Testing

@testable import StoryGenerator

@Suite struct VerbsTests {
  @Test(arguments: [
    ("walk", "walked", "walks"), ("hop", "hopped", "hops"), ("carry", "carried", "carries"),
    ("play", "played", "plays"),
    ("wave", "waved", "waves"), ("watch", "watched", "watches"), ("go", "went", "goes"), ("be", "was", "is"),
    ("have", "had", "has"), ("can", "could", "can"), ("fly", "flew", "flies"), ("must", "had to", "has to"),
  ])
  func verbsAreInflected(verb: String, past: String, present: String) {
    #expect(inflect(verb, .past, plural: false) == past)
    #expect(inflect(verb, .present, plural: false) == present)
  }

  @Test(arguments: [("be", "were", "are"), ("have", "had", "have"), ("run", "ran", "run"), ("can", "could", "can")])
  func pluralsAreInflected(verb: String, past: String, present: String) {
    #expect(inflect(verb, .past, plural: true) == past)
    #expect(inflect(verb, .present, plural: true) == present)
  }
}
