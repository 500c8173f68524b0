package server_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

// loginOn is login with a platform.
func (n *node) loginOn(user, device, platform string) *client {
	n.t.Helper()
	req := n.connect(user, device)
	req.Platform = platform
	c := n.dial()
	c.call(protocol.TypeConnect, req, protocol.TypeConnected, &pb.Connected{})
	return c
}

// ended waits for the ERROR that ends the connection.
func (c *client) ended() *pb.Error {
	c.t.Helper()
	var e pb.Error
	c.push(protocol.TypeError, &e)
	c.closed()
	return &e
}

func TestDevicesAreListedAndEnded(t *testing.T) {
	n := startNode(t, nil)
	before := time.Now().UnixMilli()
	phone, desk := n.loginOn("alice", "phone", "ios"), n.loginOn("alice", "desk", "linux")
	n.loginOn("bob", "phone", "ios")
	var list pb.DeviceList
	phone.call(protocol.TypeDevices, &pb.Devices{}, protocol.TypeDeviceList, &list)
	if len(list.Devices) != 2 {
		t.Fatalf("devices %v", list.Devices)
	}
	for i, want := range []*pb.Device{
		{Device: "desk", Platform: "linux", Client: "server_test"},
		{Device: "phone", Platform: "ios", Client: "server_test", Self: true},
	} {
		got := list.Devices[i]
		if got.ConnectedMs < before || got.ConnectedMs > time.Now().UnixMilli() {
			t.Errorf("%s connected at %d", got.Device, got.ConnectedMs)
		}
		want.ConnectedMs = got.ConnectedMs
		if !proto.Equal(got, want) {
			t.Errorf("device %v, want %v", got, want)
		}
	}

	var ended pb.Ended
	phone.call(protocol.TypeEnd, &pb.End{Device: "desk"}, protocol.TypeEnded, &ended)
	if e := desk.ended(); !ended.Found || e.Code != pb.Code_CODE_DEVICE_ENDED || e.ByDevice != "phone" || e.ByPlatform != "ios" || e.Retryable {
		t.Errorf("found %v, the desk got %v", ended.Found, e)
	}
	phone.call(protocol.TypeEnd, &pb.End{Device: "desk"}, protocol.TypeEnded, &ended)
	phone.call(protocol.TypeDevices, &pb.Devices{}, protocol.TypeDeviceList, &list)
	if ended.Found || len(list.Devices) != 1 {
		t.Errorf("found again: %v; left %v", ended.Found, list.Devices)
	}
	phone.refused(protocol.TypeEnd, &pb.End{Device: "phone"}, pb.Code_CODE_BAD_ARGUMENT)
	phone.refused(protocol.TypeEnd, &pb.End{}, pb.Code_CODE_BAD_ID)

	// The device may come back, and what was pushed meanwhile is there.
	phone.send(aliceBob, "m1", "hi")
	wantDense(t, n.loginOn("alice", "desk", "linux").pull(aliceBob), 1)
}

func TestLoginPoliciesThrowOut(t *testing.T) {
	for policy, stays := range map[session.LoginPolicy]int{session.LoginAll: 3, session.LoginPlatform: 2, session.LoginOne: 1} {
		n := startNode(t, func(c *server.Config) { c.Session.LoginPolicy = policy })
		phone, desk := n.loginOn("alice", "phone", "ios"), n.loginOn("alice", "desk", "linux")
		pad := n.loginOn("alice", "pad", "ios")
		var list pb.DeviceList
		pad.call(protocol.TypeDevices, &pb.Devices{}, protocol.TypeDeviceList, &list)
		if len(list.Devices) != stays {
			t.Errorf("policy %d: there are %v", policy, list.Devices)
		}
		if policy == session.LoginPlatform {
			if e := phone.ended(); e.Code != pb.Code_CODE_REPLACED || e.ByDevice != "pad" || e.ByPlatform != "ios" {
				t.Errorf("the phone got %v", e)
			}
		}
		if policy == session.LoginOne {
			if e := phone.ended(); e.Code != pb.Code_CODE_REPLACED || e.ByDevice != "desk" || e.ByPlatform != "linux" {
				t.Errorf("the phone got %v", e)
			}
			if e := desk.ended(); e.Code != pb.Code_CODE_REPLACED || e.ByDevice != "pad" {
				t.Errorf("the desk got %v", e)
			}
		}
		pad.send(aliceBob, "m1", "hi")
	}
}
