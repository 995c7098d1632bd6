import ArgumentParser
@main struct Spaceport: AsyncParsableCommand { }
