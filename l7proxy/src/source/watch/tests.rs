use std::fs;

use super::*;

#[tokio::test]
async fn every_change_of_a_secret_is_seen_also_in_a_directory_that_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("n/s");
    let mut watch = Watch::new().unwrap();
    let follow = |watch: &mut Watch| {
        assert_eq!(watch.follow_secrets(Some(root.path())), Vec::<String>::new());
        watch.forget().unwrap();
    };
    for _ in 0..2 {
        follow(&mut watch);
        fs::create_dir_all(&secret).unwrap();
        watch.changed().await.unwrap();
        follow(&mut watch);
        fs::write(secret.join("token"), "hush").unwrap();
        watch.changed().await.unwrap();
        follow(&mut watch);
        fs::write(secret.join("..data_tmp"), "").unwrap();
        watch.forget().unwrap();
        fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
        watch.changed().await.unwrap();
        fs::remove_dir_all(root.path().join("n")).unwrap();
        watch.changed().await.unwrap();
    }
    assert_eq!(watch.follow_secrets(None), Vec::<String>::new());
}
