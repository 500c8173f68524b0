//go:build race

package chat

// crashPoints is how often TestPowerLoss cuts the power: fewer under the race
// detector, which is here for the concurrency and not for the disk.
const crashPoints = 50
