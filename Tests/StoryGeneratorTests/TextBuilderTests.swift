import Testing

@testable import StoryGenerator

@Suite struct TextBuilderTests {
  @Test func anArticleGrowsBeforeAVowelAndSpansMoveWithIt() {
    var text = TextBuilder()
    text.append(Array("a ".utf8), insideQuotation: false)
    text.begin(.color)
    text.append(Array("orange".utf8), insideQuotation: false)
    text.end(value: "orange")
    let story = text.finished(nats: 0)
    #expect(story.string == "An orange")
    #expect(story.labels == [Label(start: 3, end: 9, concept: .color, value: "orange")])
  }

  @Test func aWordThatEndsInAIsNoArticle() {
    var text = TextBuilder()
    text.append(Array("Mia only".utf8), insideQuotation: false)
    #expect(text.finished(nats: 0).string == "Mia only")
  }

  @Test func aFullStopBeforeATagBecomesAComma() {
    var text = TextBuilder()
    text.append(Array("yes.".utf8), insideQuotation: true)
    text.softenFullStop()
    text.append(Array(" said".utf8), insideQuotation: false)
    #expect(text.finished(nats: 0).string == "Yes, said")
  }
}
