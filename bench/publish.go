package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"ingot/internal/disk"
	"ingot/internal/publish"
	"ingot/internal/publish/ledger"
	"ingot/internal/region"
)

const (
	publishedBlocks = 2048 // a GiB, all of which means something
	spreadBlocks    = 128  // 64 MiB, for many regions
	manyRegions     = 30
	plainInFlight   = 64 // puts of the plain client at a time: coldsnap's default
)

func init() {
	children["child-region"] = childRegion
	children["child-publish"] = childPublish
	children["child-put"] = childPut
}

// publish compares publishing an image into a region with a plain client that puts the same blocks with so many goroutines, and one
// region with many. Each has a new region in a process of its own, so that no block is there already.
func (b *bench) publish(ctx context.Context) ([]contest, error) {
	one, err := b.dense(publishedBlocks)
	if err != nil {
		return nil, err
	}
	small, err := b.dense(spreadBlocks)
	if err != nil {
		return nil, err
	}
	whole := contest{what: "publishing 1 GiB into a region: snapshot, AMI, ledger", peer: fmt.Sprintf("SDK, %d goroutines: snapshot alone", plainInFlight), ratio: 1.2}
	many := contest{what: fmt.Sprintf("publishing 64 MiB into %d regions", manyRegions), peer: "the same into one", memory: 512 << 20}
	sent := int64(0)
	for range b.runs {
		for _, x := range []struct {
			into    *[]sample
			child   string
			image   string
			regions int
		}{{&whole.ours, "child-publish", one, 1}, {&whole.theirs, "child-put", one, 1}, {&many.ours, "child-publish", small, manyRegions}, {&many.theirs, "child-publish", small, 1}} {
			s, out, err := b.inNewRegion(ctx, x.child, x.image, x.regions)
			if err != nil {
				return nil, err
			}
			if *x.into = append(*x.into, s); x.into == &whole.ours {
				if sent, err = strconv.ParseInt(strings.TrimSpace(out), 10, 64); err != nil {
					return nil, err
				}
			}
		}
		b.say("publishing: %v, plain client %v; into %d regions %v, into one %v", last(whole.ours), last(whole.theirs), manyRegions, last(many.ours), last(many.theirs))
	}
	b.more = append(b.more, figure{"blocks sent, to those of the image", sent, publishedBlocks, "blocks", 1})
	return []contest{whole, many}, nil
}

// dense makes an image of so many blocks of noise, with its map beside it.
func (b *bench) dense(blocks int32) (string, error) {
	dir := b.fresh("image")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	noise := rand.NewChaCha8([32]byte{byte(blocks)})
	m := &disk.Map{Size: int64(blocks) * disk.BlockSize, BlockSize: disk.BlockSize}
	data := make([]byte, disk.BlockSize)
	for i := range blocks {
		_, _ = noise.Read(data)
		if _, err := f.Write(data); err != nil {
			return "", err
		}
		m.Blocks = append(m.Blocks, disk.Block{Index: i, SHA256: sha256.Sum256(data)})
	}
	return path, os.WriteFile(path+".map", m.Encode(), 0o600)
}

// inNewRegion measures a child that publishes an image into so many regions: CHILD URL KEY SECRET IMAGE REGIONS.
func (b *bench) inNewRegion(ctx context.Context, child, image string, regions int) (sample, string, error) {
	address, _, err := freePorts(ctx)
	if err != nil {
		return sample{}, "", err
	}
	names := make([]string, regions)
	for i := range names {
		names[i] = regionNames[i]
	}
	dir := b.fresh("region")
	line, err := self("child-region", dir, address, strings.Join(names, ","))
	if err != nil {
		return sample{}, "", err
	}
	stop, err := b.start(ctx, address, line...)
	if err != nil {
		return sample{}, "", err
	}
	defer func() {
		stop()
		_ = os.RemoveAll(dir) // it holds the image once more
	}()
	keys, err := os.ReadFile(filepath.Join(dir, "keys"))
	if err != nil {
		return sample{}, "", err
	}
	key, secret, _ := strings.Cut(string(keys), " ")
	return measureChild(ctx, child, "http://"+address, key, secret, image, strings.Join(names, ","), b.fresh("ledger"))
}

// regionNames are names of regions, as many as manyRegions.
var regionNames = strings.Fields(`us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 eu-north-1 eu-west-1 eu-west-2 eu-west-3 eu-central-1 sa-east-1
	ap-south-1 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-southeast-1 ap-southeast-2 af-south-1 ap-east-1 ap-south-2 ap-southeast-3 ap-southeast-4
	ca-west-1 eu-south-1 eu-south-2 eu-central-2 me-south-1 me-central-1 il-central-1 ap-southeast-5`)

// childRegion serves a local region: DIR ADDRESS REGIONS.
func childRegion(ctx context.Context, args []string) (err error) {
	r, err := region.Open(ctx, region.Options{Dir: args[0], Regions: strings.Split(args[2], ",")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	k := r.Credentials()
	if err := os.WriteFile(filepath.Join(args[0], "keys"), []byte(k.AccessKeyID+" "+k.SecretAccessKey), 0o600); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", args[1])
	if err != nil {
		return err
	}
	return r.Serve(ctx, l)
}

func childConfig(args []string) aws.Config {
	return aws.Config{BaseEndpoint: &args[0], Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(args[1], args[2], "")}
}

func childMap(path string) (*disk.Map, error) {
	f, err := os.Open(path + ".map")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return disk.DecodeMap(f)
}

// childPublish publishes an image as ingot does, and prints how many blocks it sent to the first region.
func childPublish(ctx context.Context, args []string) (err error) {
	m, err := childMap(args[3])
	if err != nil {
		return err
	}
	l, err := ledger.Open(ctx, filepath.Join(args[5], "ledger.db"), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	results, err := publish.Publish(ctx, publish.New(childConfig(args)), publish.Request{Disk: args[3], Map: m, Name: "bench", Arch: "x86_64",
		BootMode: "uefi-preferred", ENA: true, Regions: strings.Split(args[4], ","), Ledger: l, Release: "bench"})
	if err == nil {
		fmt.Fprintln(os.Stdout, results[0].Sent)
	}
	return err
}

// childPut puts the blocks of an image into a snapshot and waits until it is completed, and does no more.
func childPut(ctx context.Context, args []string) error {
	m, err := childMap(args[3])
	if err != nil {
		return err
	}
	f, err := os.Open(args[3])
	if err != nil {
		return err
	}
	defer f.Close()
	cfg := childConfig(args)
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: plainInFlight}}
	client := ebs.NewFromConfig(cfg)
	s, err := client.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(m.Size >> 30)})
	if err != nil {
		return err
	}
	group, putting := errgroup.WithContext(ctx)
	group.SetLimit(plainInFlight)
	for _, block := range m.Blocks {
		group.Go(func() error {
			data := make([]byte, disk.BlockSize)
			if err := m.ReadBlock(f, block.Index, data); err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			_, err := client.PutSnapshotBlock(putting, &ebs.PutSnapshotBlockInput{SnapshotId: s.SnapshotId, BlockIndex: &block.Index, BlockData: bytes.NewReader(data),
				Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256, DataLength: aws.Int32(disk.BlockSize)})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if _, err := client.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: s.SnapshotId, ChangedBlocksCount: aws.Int32(int32(len(m.Blocks)))}); err != nil {
		return err
	}
	for {
		out, err := ec2.NewFromConfig(cfg).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*s.SnapshotId}})
		if err != nil {
			return err
		}
		if out.Snapshots[0].State == ec2types.SnapshotStateCompleted {
			return nil
		}
		time.Sleep(time.Second)
	}
}
