package catalogtest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asOwner is the environment that makes this program the owner of a DynamoDB, until it is killed.
const asOwner = "INGOT_TEST_DYNALITE"

// TestDynaliteEnds kills a program that has started a DynamoDB, and looks whether that goes with it.
func TestDynaliteEnds(t *testing.T) {
	if !HasDynalite() {
		t.Skip("dynalite is not installed")
	}
	if os.Getenv(asOwner) != "" {
		address, _, err := Dynalite()
		fmt.Println(address, err)
		time.Sleep(time.Hour)
	}
	owner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDynaliteEnds$")
	owner.Env = append(os.Environ(), asOwner+"=1")
	out, err := owner.StdoutPipe()
	if err == nil {
		err = owner.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = owner.Process.Kill()
	_ = owner.Wait()
	address, failed, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || failed != "<nil>" {
		t.Fatalf("it did not start: %q, %v", line, err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the DynamoDB on %s is still there", address)
		}
	}
}
