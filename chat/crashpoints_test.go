//go:build !race

package chat

// crashPoints is how often TestPowerLoss cuts the power.
const crashPoints = 1000
