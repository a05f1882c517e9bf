use std::time::Duration;

use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use futures_util::stream;
use http_body_util::StreamBody;

use super::*;
use crate::body;
use crate::memory::{Memory, NoRoom};

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

async fn compress(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let written = match coding {
        Coding::Gzip => GzipEncoder::new(bytes).read_to_end(&mut compressed).await,
        Coding::Brotli => BrotliEncoder::new(bytes).read_to_end(&mut compressed).await,
        Coding::Zstd => ZstdEncoder::new(bytes).read_to_end(&mut compressed).await,
    };
    written.unwrap();
    compressed
}

/// Decompresses a body that arrives in these pieces.
async fn decompress(
    coding: Coding,
    pieces: Vec<Bytes>,
    limit: usize,
    memory: &Memory,
) -> Result<Vec<u8>, BodyError> {
    let frames = pieces
        .into_iter()
        .map(|piece| Ok::<_, BodyError>(Frame::data(piece)));
    let body = StreamBody::new(stream::iter(frames));
    let reservation = memory.begin(0)?;
    let mut body = Decompressed::new(body, Some(coding), limit, &reservation);
    let patience = Duration::from_secs(60);
    let whole = body::read(&mut body, limit, patience, reservation).await?;
    Ok(whole.bytes)
}

async fn whole(coding: Coding, packed: &[u8]) -> Result<Vec<u8>, BodyError> {
    let piece = Bytes::copy_from_slice(packed);
    decompress(coding, vec![piece], 1 << 20, &Memory::new(64 << 20)).await
}

/// Text that compresses to about a quarter.
fn text() -> Vec<u8> {
    let words = ["a warm", "funny", "film", "the plot", "makes", "no sense"];
    let words = (0..20_000_usize).map(|n| words[n * n % 41 % words.len()]);
    words.collect::<Vec<_>>().join(" ").into_bytes()
}

#[tokio::test]
async fn bodies_are_decompressed_in_any_pieces() {
    let text = text();
    for coding in CODINGS {
        let packed = compress(coding, &text).await;
        assert!(packed.len() * 3 < text.len());
        assert_eq!(whole(coding, &packed).await.as_ref(), Ok(&text));
        let bytes = packed.iter().map(|byte| Bytes::copy_from_slice(&[*byte]));
        let memory = Memory::new(64 << 20);
        let found = decompress(coding, bytes.collect(), 1 << 20, &memory).await;
        assert_eq!(found.as_ref(), Ok(&text), "{coding}");
        // All memory has been released.
        assert!(memory.begin((64 << 20) - 4096).is_ok());
        let nothing = compress(coding, b"").await;
        assert_eq!(whole(coding, &nothing).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn invalid_data_is_an_error() {
    for coding in CODINGS {
        let broken = Err(BodyError::Broken { coding });
        let packed = compress(coding, b"a short text, and the same: a short text").await;
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
        let other = compress(CODINGS[usize::from(coding == Coding::Gzip)], b"text").await;
        assert_eq!(whole(coding, &other).await, broken, "{coding}");
    }
}

#[tokio::test]
async fn concatenated_members_are_one_body() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let parts = [&b"one "[..], b"", b"two"];
        let mut packed = Vec::new();
        for part in parts {
            packed.extend(compress(coding, part).await);
        }
        assert_eq!(whole(coding, &packed).await, Ok(b"one two".to_vec()));
    }
}

#[tokio::test]
async fn a_bomb_expands_no_further_than_allowed() {
    for coding in CODINGS {
        let packed = Bytes::from(compress(coding, &vec![b' '; 64 << 20]).await);
        assert!(packed.len() < 100_000, "{coding}: {}", packed.len());
        let memory = Memory::new(8 << 20);
        let found = decompress(coding, vec![packed.clone()], 1 << 20, &memory).await;
        assert_eq!(found, Err(BodyError::TooLarge { limit: 1 << 20 }));
        // Nor further than there is memory for.
        let found = decompress(coding, vec![packed], 64 << 20, &memory).await;
        assert_eq!(found, Err(BodyError::NoRoom(NoRoom)));
        assert!(memory.begin((8 << 20) - 4096).is_ok());
    }
}

/// Some of them expand to nothing.
#[tokio::test]
async fn compressed_bytes_are_limited_too() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let nothing = Bytes::from(compress(coding, b"").await);
        let pieces = vec![nothing; 1000];
        let found = decompress(coding, pieces, 4096, &Memory::new(8 << 20)).await;
        assert_eq!(found, Err(BodyError::TooLarge { limit: 4096 }));
    }
}

#[tokio::test]
async fn windows_are_bounded() {
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
async fn decompression_yields() {
    let packed = compress(Coding::Zstd, &vec![b' '; 1 << 20]).await;
    let frames = [Ok::<_, BodyError>(Frame::data(Bytes::from(packed)))];
    let body = StreamBody::new(stream::iter(frames));
    let reservation = Memory::new(16 << 20).begin(0).unwrap();
    let mut body = Decompressed::new(body, Some(Coding::Zstd), 1 << 20, &reservation);
    let (mut in_a_row, mut most, mut turns) = (0, 0, 0);
    std::future::poll_fn(|context| {
        loop {
            match Pin::new(&mut body).poll_frame(context) {
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
