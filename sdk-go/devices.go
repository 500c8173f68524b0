package godwit

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Device is a session of the user.
type Device struct {
	Device    string
	Platform  string
	Client    string // free text
	Connected time.Time
	Self      bool // it is this client's own
}

// Devices lists the sessions of the user.
func (c *Client) Devices() *Call[[]Device] {
	return start(c, protocol.TypeDevices, new(pb.Devices), nil, func(m proto.Message) []Device {
		var devices []Device
		for _, d := range m.(*pb.DeviceList).Devices {
			devices = append(devices, Device{
				Device: d.Device, Platform: d.Platform, Client: d.Client, Connected: timeOf(d.ConnectedMs), Self: d.Self,
			})
		}
		return devices
	})
}

// EndDevice ends the session of another of the user's devices, whose client ends
// with an *EndedError. It tells whether there was such a session.
func (c *Client) EndDevice(device string) *Call[bool] {
	if err := protocol.CheckID("device", device); err != nil {
		return failed[bool](c, fmt.Errorf("godwit: end device: %w", err))
	}
	return start(c, protocol.TypeEnd, &pb.End{Device: device}, nil, func(m proto.Message) bool {
		return m.(*pb.Ended).Found
	})
}
