/// Words for a feeling: adjectives and what a body does, as templates with `{X}` for who feels it.
struct Feeling {
  var name: String
  var adjectives: [String]
  var signs: [String]
}

let feelings: [String: Feeling] = Dictionary(
  uniqueKeysWithValues: [
    Feeling(
      name: "happy", adjectives: ["happy", "glad", "merry", "full of joy"],
      signs: ["{X} <laugh> out loud", "{X} <clap> and <dance>", "{X} <smile> from ear to ear", "{X} <hum> a tune"]),
    Feeling(
      name: "sad", adjectives: ["sad", "unhappy", "gloomy", "close to tears"],
      signs: [
        "a [tear/sense=tear.eye] <roll> down {X.poss} cheek", "{X} <sigh>", "{X} <hang> {X.their} head",
        "{X} <cry> a little",
      ]),
    Feeling(
      name: "angry", adjectives: ["angry", "cross", "mad", "furious"],
      signs: ["{X} <stamp> {X.their} foot", "{X} <growl>", "{X} <turn> away without a word", "{X} <frown>"]),
    Feeling(
      name: "afraid", adjectives: ["afraid", "scared", "frightened", "full of fear"],
      signs: [
        "{X.poss} knees <shake+>", "{X} <tremble>", "{X} <hide> {X.their} face", "{X.poss} heart <beat> fast",
      ]),
    Feeling(
      name: "proud", adjectives: ["proud", "pleased", "as proud as a king", "full of pride"],
      signs: ["{X} <stand> up straight", "{X} <hold> {X.their} head high", "{X} <beam>", "{X} <strut> around"]),
    Feeling(
      name: "lonely", adjectives: ["lonely", "all alone", "forgotten", "left out"],
      signs: [
        "{X} <sit> apart", "{X} <talk> to nobody", "{X} <look> at the ground", "{X} <watch> the others from far away",
      ]),
    Feeling(
      name: "surprised", adjectives: ["surprised", "amazed", "astonished", "full of wonder"],
      signs: ["{X} <rub> {X.their} eyes", "{X} <gasp>", "{X} <stare>", "{X.poss} mouth <fall> open"]),
    Feeling(
      name: "curious", adjectives: ["curious", "eager to know more", "full of questions", "puzzled"],
      signs: ["{X} <tilt> {X.their} head", "{X} <come> closer", "{X} <look> again", "{X} <listen>"]),
    Feeling(
      name: "tired", adjectives: ["tired", "sleepy", "weary", "worn out"],
      signs: ["{X} <yawn>", "{X.poss} eyes <fall+> shut", "{X} <sit> down", "{X} <stretch>"]),
    Feeling(
      name: "sorry", adjectives: ["sorry", "ashamed", "full of regret", "guilty"],
      signs: [
        "{X} <look> at {X.their} feet", "{X.poss} face <turn> hot", "{X} <swallow> hard", "{X} <whisper> to {X.self}",
      ]),
  ].map { ($0.name, $0) })
