use std::time::Duration;

use futures_util::stream;
use http_body_util::StreamBody;

use super::*;
use crate::body;
use crate::memory::NoRoom;
use crate::pack::encode;

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

/// What comes out of a body that comes in such pieces.
async fn unpacked(
    coding: Coding,
    pieces: Vec<Bytes>,
    limit: usize,
    memory: &Memory,
) -> Result<Vec<u8>, BodyError> {
    let frames = pieces
        .into_iter()
        .map(|piece| Ok::<_, BodyError>(Frame::data(piece)));
    let mut content = Content::of(StreamBody::new(stream::iter(frames)));
    content.unpack(Some(coding), limit, memory);
    let patience = Duration::from_secs(60);
    let whole = body::read(&mut content, limit, patience, memory).await?;
    Ok(whole.bytes)
}

async fn whole(coding: Coding, packed: &[u8]) -> Result<Vec<u8>, BodyError> {
    let piece = Bytes::copy_from_slice(packed);
    unpacked(coding, vec![piece], 1 << 20, &Memory::new(64 << 20)).await
}

/// Text that packs to about a quarter.
fn text() -> Vec<u8> {
    let words = ["a warm", "funny", "film", "the plot", "makes", "no sense"];
    let words = (0..20_000_usize).map(|n| words[n * n % 41 % words.len()]);
    words.collect::<Vec<_>>().join(" ").into_bytes()
}

#[tokio::test]
async fn what_was_packed_comes_out_however_it_comes() {
    let text = text();
    for coding in CODINGS {
        let packed = encode(coding, &text).await.unwrap();
        assert!(packed.len() * 3 < text.len());
        assert_eq!(whole(coding, &packed).await.as_ref(), Ok(&text));
        let bytes = packed.iter().map(|byte| Bytes::copy_from_slice(&[*byte]));
        let memory = Memory::new(64 << 20);
        let found = unpacked(coding, bytes.collect(), 1 << 20, &memory).await;
        assert_eq!(found.as_ref(), Ok(&text), "{coding}");
        // All that was taken has been given back.
        assert!(memory.begin((64 << 20) - 4096).is_ok());
        let nothing = encode(coding, b"").await.unwrap();
        assert_eq!(whole(coding, &nothing).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn what_is_broken_is_an_error() {
    for coding in CODINGS {
        let broken = Err(BodyError::Broken { coding });
        let packed = encode(coding, b"a short text, and the same: a short text")
            .await
            .unwrap();
        for end in 0..packed.len() {
            assert_eq!(
                whole(coding, &packed[..end]).await,
                broken,
                "{coding} {end}"
            );
        }
        let behind = [&packed[..], b"garbage"].concat();
        assert_eq!(whole(coding, &behind).await, broken, "{coding}");
        assert_eq!(
            whole(coding, b"{\"text\": [\"a\"]}").await,
            broken,
            "{coding}"
        );
        let other = encode(CODINGS[usize::from(coding == Coding::Gzip)], b"text").await;
        assert_eq!(whole(coding, &other.unwrap()).await, broken, "{coding}");
    }
}

#[tokio::test]
async fn parts_that_are_packed_by_themselves_are_one_body() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let parts = [&b"one "[..], b"", b"two"];
        let mut packed = Vec::new();
        for part in parts {
            packed.extend(encode(coding, part).await.unwrap());
        }
        assert_eq!(whole(coding, &packed).await, Ok(b"one two".to_vec()));
    }
}

#[tokio::test]
async fn of_a_bomb_no_more_is_unpacked_than_is_allowed() {
    for coding in CODINGS {
        let packed = Bytes::from(encode(coding, &vec![b' '; 64 << 20]).await.unwrap());
        assert!(packed.len() < 100_000, "{coding}: {}", packed.len());
        let memory = Memory::new(8 << 20);
        let found = unpacked(coding, vec![packed.clone()], 1 << 20, &memory).await;
        assert_eq!(found, Err(BodyError::TooLarge { limit: 1 << 20 }));
        // Nor more than there is room for, which what is unpacked takes.
        let found = unpacked(coding, vec![packed], 64 << 20, &memory).await;
        assert_eq!(found, Err(BodyError::NoRoom(NoRoom)));
        assert!(memory.begin((8 << 20) - 4096).is_ok());
    }
}

/// Bytes that come count as well: some of them unpack to nothing.
#[tokio::test]
async fn what_unpacks_to_nothing_ends_all_the_same() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let nothing = Bytes::from(encode(coding, b"").await.unwrap());
        let pieces = vec![nothing; 1000];
        let found = unpacked(coding, pieces, 4096, &Memory::new(8 << 20)).await;
        assert_eq!(found, Err(BodyError::TooLarge { limit: 4096 }));
    }
}

#[tokio::test]
async fn windows_are_bounded() {
    use async_compression::tokio::bufread::ZstdEncoder;
    use async_compression::zstd::CParameter;
    let text = text();
    for (log, is_taken) in [(23, true), (24, false)] {
        let window = [CParameter::window_log(log)];
        let level = async_compression::Level::Precise(1);
        let mut encoder = ZstdEncoder::with_quality_and_params(&*text, level, &window);
        let mut packed = Vec::new();
        encoder.read_to_end(&mut packed).await.unwrap();
        assert_eq!(whole(Coding::Zstd, &packed).await.is_ok(), is_taken);
    }
    // What would be a window of 64 MiB (26 bits), and then an empty end.
    let large = [0b0001_0001, 0b1101_1010, 0b0000_0000];
    let broken = Err(BodyError::Broken {
        coding: Coding::Brotli,
    });
    assert_eq!(whole(Coding::Brotli, &large).await, broken);
}

#[tokio::test]
async fn others_have_their_turn() {
    let packed = encode(Coding::Zstd, &vec![b' '; 1 << 20]).await.unwrap();
    let frames = [Ok::<_, BodyError>(Frame::data(Bytes::from(packed)))];
    let mut content = Content::of(StreamBody::new(stream::iter(frames)));
    content.unpack(Some(Coding::Zstd), 1 << 20, &Memory::new(16 << 20));
    let (mut in_a_row, mut most, mut turns) = (0, 0, 0);
    std::future::poll_fn(|context| {
        loop {
            match Pin::new(&mut content).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(frame)) => in_a_row += frame.unwrap().data_ref().unwrap().len(),
                Poll::Pending => {
                    (most, in_a_row, turns) = (most.max(in_a_row), 0, turns + 1);
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
    assert!(most <= 64 << 10, "{most}");
    assert!(turns >= 15, "{turns}");
}
